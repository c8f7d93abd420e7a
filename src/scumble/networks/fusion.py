"""Fusions: features of a content and of a style image become features to decode.

Each maps content (B, C, H, W) and style (B, C, h, w), the features of one layer, to (B, C, H, W).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from scumble.networks.layers import adaptive_instance_normalization, tile
from scumble.statistics import channel_moments, gram_matrix


class AdaptiveInstanceNormalization(nn.Module):
    """Every channel of the content with the mean and the standard deviation of the style's.

    Source: Huang and Belongie 2017, equation 8, https://arxiv.org/abs/1703.06868.
    """

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return adaptive_instance_normalization(content, *channel_moments(style))


class WCT(nn.Module):
    """The content, whitened and coloured: its channels have the means and the covariance of the style's.

    ``eps`` is added to the variance of every channel, of both images: directions in which the content hardly varies
    are then not blown up to the style's.
    Source: Li et al. 2017, section 3.2, https://arxiv.org/abs/1705.08086.
    Departs from the paper: ``eps`` instead of leaving out small eigenvalues, which makes it differentiable; one layer
    and one decoder instead of five in a row.
    Raises: ValueError for an ``eps`` that is not positive.
    """

    def __init__(self, eps: float = 1e-3):
        super().__init__()
        if eps <= 0:
            raise ValueError(f"fusion.eps must be greater than 0, got {eps}")
        self.eps = eps

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        with torch.autocast(content.device.type, enabled=False):  # an eigen-decomposition needs all digits
            content_map, _, content_covariance = self.statistics(content)
            _, style_mean, style_covariance = self.statistics(style)
            whitened = matrix_root(content_covariance, inverse=True) @ content_map
            coloured = matrix_root(style_covariance) @ whitened + style_mean
            return coloured.reshape(content.shape)

    def statistics(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features without their mean (B, C, H*W), the mean (B, C, 1) and the covariance (B, C, C) with ``eps``."""
        flat = features.flatten(2).to(torch.promote_types(features.dtype, torch.float32))
        mean = flat.mean(dim=2, keepdim=True)
        centered = flat - mean
        ridge = self.eps * torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
        return centered, mean, centered @ centered.mT / flat.shape[2] + ridge


class ChannelSwap(nn.Module):
    """The content, with the channels in which the two styles differ most replaced by those of the style image.

    How much channel c of the two images is alike is the cosine between row c of their Gram matrices: how the channel
    goes with all others. The ``share`` of the channels with the smallest cosines is swapped: 0 is the content, 1 the
    style image. A swapped channel brings along where things lie in the style image, which is cut, or repeated as in a
    pair of mirrors, to the size of the content.
    Source: the Gram matrices of Gatys et al. 2016, equation 3; swapping features after Chen and Schmidt 2016,
    https://arxiv.org/abs/1612.04337.
    Departs from the paper: whole channels are swapped, not patches.
    Raises: ValueError for a ``share`` outside of [0, 1].
    """

    def __init__(self, share: float = 0.3):
        super().__init__()
        if not 0 <= share <= 1:
            raise ValueError(f"fusion.share must be in [0, 1], got {share}")
        self.share = share

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        similarity = F.cosine_similarity(gram_matrix(content), gram_matrix(style), dim=2)
        rank = similarity.argsort(dim=1, stable=True).argsort(dim=1)  # 0 for the channel that differs most
        swapped = rank < round(self.share * content.shape[1])
        return torch.where(swapped[..., None, None], tile(style, *content.shape[-2:]), content)


class StyleAttention(nn.Module):
    """The content, plus at every position a mean of the style's features, weighted by how alike they are.

    ``channels`` is the number of channels of the features.
    Source: Park and Lee 2019, section 3.2 (SANet), https://arxiv.org/abs/1812.02342.
    Departs from the paper: relu4_1 alone instead of relu4_1 and relu5_1.
    Raises: ValueError for features of another number of channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        if content.shape[1] != self.channels:
            raise ValueError(
                f"fusion.channels is {self.channels}, but the features to fuse have {content.shape[1]} channels; "
                f"set fusion.channels={content.shape[1]}"
            )
        maps = self.query(F.instance_norm(content)), self.key(F.instance_norm(style)), self.value(style)
        query, key, value = (each.flatten(2).mT for each in maps)
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        out: Tensor = content + self.out(attended.mT.reshape(content.shape))
        return out


def matrix_root(matrices: Tensor, inverse: bool = False) -> Tensor:
    """The square roots of symmetric positive definite matrices, or the inverse square roots.

    Shape: (B, C, C) to the same. The gradient is finite for eigenvalues that coincide, where that of
    ``torch.linalg.eigh`` is not.
    """
    root: Tensor = _MatrixRoot.apply(matrices, inverse)
    return root


class _MatrixRoot(torch.autograd.Function):
    """V f(D) V^T with f(d) = sqrt(d) or 1 / sqrt(d).

    The gradient is V (K * (V^T G V)) V^T with the divided differences K_ij = (f(d_i) - f(d_j)) / (d_i - d_j), which
    for these f can be written without a division by d_i - d_j.
    Source: Higham 2008, Functions of Matrices, theorem 3.11 (Daleckii and Krein).
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, inverse: bool) -> Tensor:
        eigenvalues, vectors = torch.linalg.eigh(matrices)
        roots = eigenvalues.clamp_min(torch.finfo(matrices.dtype).tiny).sqrt()
        ctx.save_for_backward(roots, vectors)
        ctx.inverse = inverse
        values = 1 / roots if inverse else roots
        root: Tensor = vectors * values[..., None, :] @ vectors.mT
        return root

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        roots, vectors = ctx.saved_tensors
        row, column = roots[..., :, None], roots[..., None, :]
        differences = -1 / (row * column * (row + column)) if ctx.inverse else 1 / (row + column)
        return vectors @ (differences * (vectors.mT @ gradient @ vectors)) @ vectors.mT, None
