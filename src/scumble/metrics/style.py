"""How near a stylized image is to the style of a painting: one number for each image."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Features = Mapping[str, Tensor]


def feature_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of :func:`scumble.losses.perceptual.channel_moments`, for judging alone.

    In two passes over the features: on a CPU torch.var_mean takes three times as long.
    Shape: (B, C, H, W); returns two of (B, C, 1, 1).
    """
    mean = features.mean(dim=(2, 3), keepdim=True)
    variance = (features - mean).square_().mean(dim=(2, 3), keepdim=True)
    return mean, (variance + 1e-5).sqrt()


def moment_distance(moments: Features, style_moments: Features) -> Tensor:
    """Mean squared difference of channel means and deviations, summed over the layers.

    Shape: two maps from the names of moments to (B, C, 1, 1), see :func:`feature_moments`;
    returns (B,).
    Source: Huang and Belongie 2017, equation 13, https://arxiv.org/abs/1703.06868.
    """
    differences = [(found - style_moments[name]).square().mean(dim=(1, 2, 3)) for name, found in moments.items()]
    return torch.stack(differences).sum(dim=0)


def gram_distance(grams: Features, style_grams: Features) -> Tensor:
    """Squared Frobenius distance of Gram matrices that are divided by C*H*W, summed over the layers.

    Shape: two maps from layer to (B, C, C), see :func:`scumble.losses.perceptual.gram_matrix`; returns (B,).
    Source: Johnson et al. 2016, section 3.2, https://arxiv.org/abs/1603.08155.
    """
    return torch.stack([(grams[layer] - style_grams[layer]).square().sum(dim=(1, 2)) for layer in grams]).sum(dim=0)


def colour_histogram(images: Tensor, bins: int = 8) -> Tensor:
    """The shares of the pixels in each cell of the RGB cube, ``bins`` along each side.

    Shape: (B, 3, H, W) in [0, 1]; returns (B, bins^3), which sums to 1.
    """
    cells = (images * bins).long().clamp(0, bins - 1)
    index = ((cells[:, 0] * bins + cells[:, 1]) * bins + cells[:, 2]).flatten(1)
    counts = torch.zeros(len(images), bins**3, device=images.device)
    return counts.scatter_add_(1, index, torch.ones_like(index, dtype=counts.dtype)) / index.shape[1]


def hellinger_distance(histogram: Tensor, style_histogram: Tensor) -> Tensor:
    """sqrt(1 - sum sqrt(p q)): 0 for equal histograms, 1 for those that share no cell.

    Shape: two of (B, N) that sum to 1; returns (B,).
    Source: for colour histograms, Afifi et al. 2021 (HistoGAN), https://arxiv.org/abs/2011.11731.
    """
    return (1 - (histogram * style_histogram).sqrt().sum(dim=1)).clamp_min(0).sqrt()


def sliced_wasserstein_distance(quantiles: Tensor, style_quantiles: Tensor) -> Tensor:
    """Mean absolute difference of two sets of quantiles: the sliced Wasserstein-1 distance.

    Shape: two of (B, projections, positions), see :func:`scumble.losses.perceptual.projected_quantiles`; returns (B,).
    Source: Bonneel et al. 2015, https://doi.org/10.1007/s10851-014-0506-3; for textures Heitz et al. 2021,
    https://arxiv.org/abs/2006.07229.
    """
    return (quantiles - style_quantiles).abs().mean(dim=(1, 2))


def feature_patches(features: Tensor, size: int = 3, stride: int = 2) -> Tensor:
    """Patches of features, each as a vector of length 1.

    Shape: (B, C, H, W); returns (B, P, C * size^2).
    """
    return F.normalize(F.unfold(features, size, stride=stride).mT, dim=2)


def patch_coherence(patches: Tensor, style_patches: Tensor) -> Tensor:
    """1 - cosine of each patch and the style's nearest, the mean: 0 if every patch is one of the style's.

    Shape: (B, P, D) and (B, Q, D), see :func:`feature_patches`; returns (B,).
    Source: Simakov et al. 2008, equation 1 (coherence), https://doi.org/10.1109/CVPR.2008.4587842; patches of
    features as in Chen and Schmidt 2016, https://arxiv.org/abs/1612.04337.
    """
    return 1 - (patches @ style_patches.mT).amax(dim=2).mean(dim=1)


def patch_completeness(patches: Tensor, style_patches: Tensor) -> Tensor:
    """1 - cosine of each of the style's patches and the nearest patch, the mean: 0 if nothing of the style is left out.

    Shape: (B, P, D) and (B, Q, D), see :func:`feature_patches`; returns (B,).
    Source: Simakov et al. 2008, equation 1 (completeness).
    """
    return patch_coherence(style_patches, patches)
