"""Content and style, judged on the features of a perceptual encoder."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.statistics import channel_moments, gram_matrix, sliced_quantiles

Features = Mapping[str, Tensor]


def content_loss(features: Features, content_features: Features) -> Tensor:
    """Mean squared difference of features, summed over the layers.

    Source: Johnson et al. 2016, section 3.2 (feature reconstruction loss).
    """
    return _total(F.mse_loss(features[layer], target) for layer, target in content_features.items())


def gram_style_loss(features: Features, style_grams: Features) -> Tensor:
    """Squared Frobenius distance of Gram matrices, summed over the layers.

    ``style_grams`` are the :func:`gram_matrix` of the style image's features: computed once per step, without
    gradients. With Gram matrices divided by C*H*W it is the mean over the C*C entries of those divided by H*W, four
    times the loss of Gatys et al. 2016, equation 4: narrow and wide layers weigh alike.
    Source: Johnson et al. 2016, section 3.2.
    """
    return _total(
        (gram_matrix(features[layer]) - target).square().sum(dim=(1, 2)).mean() for layer, target in style_grams.items()
    )


def moment_style_loss(features: Features, style_moments: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Mean squared difference of channel means and standard deviations, summed over the layers.

    Source: Huang and Belongie 2017, equation 13.
    """
    return _total(
        F.mse_loss(mean, style_mean) + F.mse_loss(deviation, style_deviation)
        for (mean, deviation), (style_mean, style_deviation) in (
            (channel_moments(features[layer]), target) for layer, target in style_moments.items()
        )
    )


def sliced_wasserstein_loss(features: Features, style_quantiles: Features) -> Tensor:
    """Squared sliced Wasserstein distance of the features' distributions, summed over the layers.

    That of a layer is divided by the variance of the style's projections, so that layers weigh alike. Unlike Gram
    matrices and moments it tells two distributions apart whose means and covariances agree.
    ``style_quantiles`` are the :func:`sliced_quantiles` of the style image's features; those of an image of another
    size are interpolated.
    Source: Heitz et al. 2021, equation 4. Departs from the paper: the division.
    """
    return _total(
        _relative_square(sliced_quantiles(features[layer]), target) for layer, target in style_quantiles.items()
    )


def _relative_square(quantiles: Tensor, target: Tensor) -> Tensor:
    variance = target.var(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    if quantiles.shape[-1] != target.shape[-1]:
        target = F.interpolate(target, quantiles.shape[-1], mode="linear", align_corners=False)
    return ((quantiles - target).square() / variance).mean()


def gatys_content_loss(features: Features, content_features: Features) -> Tensor:
    """Half the sum of squared differences of features, 1/2 sum (F - P)^2, summed over the layers.

    Source: Gatys et al. 2016, equation 1, https://doi.org/10.1109/CVPR.2016.265.
    """
    return _total(
        0.5 * (features[layer] - target).square().flatten(1).sum(dim=1).mean()
        for layer, target in content_features.items()
    )


def gatys_style_loss(features: Features, style_grams: Features) -> Tensor:
    """1/(4 N^2 M^2) sum (G - A)^2, averaged over the layers (w_l = 1 / layers).

    G and A are Gram matrices without a divisor, N is the number of channels and M that of positions. ``style_grams``
    are those of :func:`gram_matrix`, which are divided by N M: so the divisor that remains is 4.
    Source: Gatys et al. 2016, equations 3 to 5, https://doi.org/10.1109/CVPR.2016.265.
    """
    return gram_style_loss(features, style_grams) / (4 * len(style_grams))


# What of the features is the style: a statistic of one layer, and the loss on those of all layers.
STYLE_LOSSES: dict[str, tuple[Callable[..., Any], Callable[..., Tensor]]] = {
    "gram": (gram_matrix, gram_style_loss),
    "moments": (channel_moments, moment_style_loss),
    "sliced_wasserstein": (sliced_quantiles, sliced_wasserstein_loss),
}


def style_loss(statistics: str) -> tuple[Callable[[Tensor], Any], Callable[..., Tensor]]:
    """The statistic of features and the loss of a name of ``STYLE_LOSSES``."""
    if statistics not in STYLE_LOSSES:
        raise ValueError(f"task.style_statistics must be one of {', '.join(STYLE_LOSSES)}, got {statistics!r}")
    return STYLE_LOSSES[statistics]


def _total(terms: object) -> Tensor:
    return torch.stack(list(terms)).sum()  # type: ignore[call-overload]
