"""Layers that several networks share."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.statistics import channel_moments


def convolution(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, bias: bool = True
) -> nn.Conv2d:
    """A convolution with reflection padding that keeps H and W, or gives ceil(H / stride), ceil(W / stride)."""
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias, padding_mode="reflect")


def adaptive_instance_normalization(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Features whose channels have the given mean and standard deviation.

    Shape: features (B, C, H, W); mean and deviation (B, C, 1, 1).
    Source: Huang and Belongie 2017, equation 8, https://arxiv.org/abs/1703.06868.
    """
    own_mean, own_deviation = channel_moments(features)
    return (features - own_mean) / own_deviation * deviation + mean


def tile(images: Tensor, height: int, width: int) -> Tensor:
    """Images cut to height x width, or repeated to it as in a pair of mirrors.

    Shape: (B, C, h, w) to (B, C, height, width).
    """

    def positions(wanted: int, given: int) -> Tensor:
        index = torch.arange(wanted, device=images.device) % (2 * given)
        return torch.minimum(index, 2 * given - 1 - index)

    if height <= images.shape[-2] and width <= images.shape[-1]:
        return images[..., :height, :width]
    rows, columns = positions(height, images.shape[-2]), positions(width, images.shape[-1])
    return images[..., rows[:, None], columns]


def check_image_sides(minimum: int, *images: Tensor) -> None:
    """Raise ValueError if an image is smaller than a network can take."""
    for image in images:
        height, width = image.shape[-2:]
        if min(height, width) < minimum:
            raise ValueError(f"image sides must be at least {minimum} pixels, got {width}x{height}; use a larger image")


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Images whose sides are multiples of a number, by reflection at the right and at the bottom."""
    height, width = images.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    return F.pad(images, (0, right, 0, bottom), mode="reflect") if right or bottom else images


def leaky_clamp(images: Tensor, slope: float = 0.1) -> Tensor:
    """Images clamped to [0, 1], but for a slope outside: a saturated pixel keeps a gradient."""
    inside = images.clamp(0, 1)
    return inside + slope * (images - inside)


class SelfAttention(nn.Module):
    """Self-attention over positions, added with a learned gain that starts at 0.

    Shape: (B, C, H, W) to the same. Keys and values are averaged over a grid of at most ``grid`` x ``grid``, so that
    the cost grows linearly with the number of pixels and any image size fits.
    Source: Zhang et al. 2019, section 3, https://arxiv.org/abs/1805.08318.
    Departs from the paper: scaled dot products with heads (Vaswani et al. 2017), and the averaged grid.
    """

    def __init__(self, channels: int, heads: int = 4, grid: int = 16):
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads, got {channels} channels and {heads} heads")
        self.heads, self.grid = heads, grid
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        batch, channels, height, width = features.shape
        normalized = F.instance_norm(features)
        pooled = F.adaptive_avg_pool2d(normalized, (min(height, self.grid), min(width, self.grid)))

        def tokens(maps: Tensor) -> Tensor:
            return maps.reshape(batch, self.heads, channels // self.heads, -1).transpose(2, 3)

        key, value = map(tokens, self.key_value(pooled).chunk(2, dim=1))
        attended = F.scaled_dot_product_attention(tokens(self.query(normalized)), key, value)
        attended = attended.transpose(2, 3).reshape(batch, channels, height, width)
        out: Tensor = features + self.gain * self.out(attended)
        return out


class Frozen(nn.Module):
    """Holds a network that is not trained, not saved and not synchronised, but moves with its owner.

    The owner sees no parameters, buffers or state_dict entries, and a deep copy (EMA) shares the network.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self._held = [network.eval().requires_grad_(False)]

    @property
    def network(self) -> nn.Module:
        return self._held[0]

    def forward(self, *inputs: Tensor) -> Any:
        return self.network(*inputs)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode whatever the owner does."""
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.network._apply(fn, recurse)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen":
        return Frozen(self.network)
