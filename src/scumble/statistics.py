"""Statistics of feature maps: channel moments, Gram matrices, quantiles along random directions."""

import torch
from torch import Tensor
from torch.nn import functional as F


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations of features, divided by C*H*W.

    Shape: features (B, C, H, W); returns (B, C, C), symmetric, positive semidefinite.
    Source: Johnson et al. 2016, section 3.2, https://arxiv.org/abs/1603.08155.
    """
    batch, channels, height, width = features.shape
    flat = features.reshape(batch, channels, height * width)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


def channel_moments(features: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over the positions.

    Shape: features (B, C, H, W); returns two of (B, C, 1, 1). ``eps`` is added to the variance, so that the gradient
    of a constant channel is finite.
    Source: Huang and Belongie 2017, section 5, https://arxiv.org/abs/1703.06868.
    """
    variance, mean = torch.var_mean(features, dim=(2, 3), keepdim=True, correction=0)
    return mean, (variance + eps).sqrt()


def projected_quantiles(features: Tensor, projections: int, side: int | None = None) -> Tensor:
    """The features of all positions along random directions, in increasing order for each direction.

    The directions, of length 1, are a function of the number of channels and of ``projections``. With ``side``, of a
    larger map every n-th position is taken, so that there are at most ``side`` x ``side``.
    Shape: (B, C, H, W); returns (B, projections, positions).
    """
    stride = max(1, max(features.shape[-2:]) // side) if side else 1
    flat = features[..., ::stride, ::stride].flatten(2)
    directions = torch.randn(projections, flat.shape[1], generator=torch.Generator().manual_seed(0))
    return (F.normalize(directions, dim=1).to(flat) @ flat).sort(dim=2).values


def sliced_quantiles(features: Tensor) -> Tensor:
    """The distribution of features in slices: their :func:`projected_quantiles` in float32, max(C, 16) of them.

    Shape: (B, C, H, W); returns (B, max(C, 16), H*W).
    Source: Heitz et al. 2021, sections 3.1 and 3.2, https://arxiv.org/abs/2006.07229.
    Departs from the paper: the directions are the same at every call, so the statistic is one of the features alone.
    """
    return projected_quantiles(features.float(), projections=max(features.shape[1], 16))
