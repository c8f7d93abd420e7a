"""Layers of the painter. None of them measures anything over space."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.layers import convolution

Affine = tuple[Tensor, Tensor]  # scale and shift, (B, C, 1, 1) each


class Attention(nn.Module):
    """Every position attends to a few tokens; the result is added, from zero on if ``starts_at_zero``.

    Shape: features (B, C, H, W) and tokens (B, N, C); the result has the shape of the features.
    Source: Vaswani et al. 2017, section 3.2, https://arxiv.org/abs/1706.03762; self-attention in a GAN is Zhang et al.
    2019, https://arxiv.org/abs/1805.08318.
    Departs from the paper: the tokens are averages over a coarse grid, so the cost is linear in the number of pixels.
    """

    def __init__(self, channels: int, heads: int, width: int, starts_at_zero: bool = False):
        super().__init__()
        if width % heads:
            raise ValueError(f"attention needs a width that is a multiple of its {heads} heads, got {width}")
        self.heads = heads
        self.query = nn.Conv2d(channels, width, 1)
        self.key_value = nn.Linear(channels, 2 * width)
        self.out = nn.Conv2d(width, channels, 1)
        if starts_at_zero:
            nn.init.zeros_(self.out.weight)
            assert self.out.bias is not None
            nn.init.zeros_(self.out.bias)

    def keys_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, heads, N, width / heads) and values (B, heads, width / heads, N) of tokens (B, N, C)."""
        both = self.key_value(tokens).view(*tokens.shape[:2], 2, self.heads, -1)
        keys, values = both.permute(2, 0, 3, 1, 4)
        return keys, values.transpose(2, 3)

    def forward(self, features: Tensor, keys: Tensor, values: Tensor, weights: Tensor | None = None) -> Tensor:
        # Positions stay in the last dimension: fused attention wants channels there, and the copies cost more.
        queries = self.query(features).flatten(2).unflatten(1, (self.heads, -1))
        scores = (keys * keys.shape[-1] ** -0.5).to(queries.dtype) @ queries
        if weights is not None:
            scores = scores + weights[:, None, :, None]
        attended = values.to(queries.dtype) @ scores.softmax(dim=2).to(queries.dtype)
        result: Tensor = features + self.out(attended.flatten(1, 2).unflatten(2, features.shape[-2:]))
        return result


class StyledLayer(nn.Module):
    """A 3x3 convolution, noise, and a scale and shift for each channel that are linear in the style code.

    There is no normalization: the content's features have the style's moments already, and a scale that depends on the
    code does what dividing by a measured deviation would do. So each output pixel depends on its neighbourhood alone.

    With ``skip`` the layer adds a 1x1 convolution of the encoder's features. With ``enlarge`` it doubles the sides: it
    computes the 3x3 convolution of the image enlarged by nearest neighbours as four 2x2 convolutions of the small one.
    Shape: (B, in, H, W) to (B, out, H, W), or (B, out, 2 H, 2 W).
    Source: modulation by a style code and noise per layer, Karras et al. 2020, section 2, https://arxiv.org/abs/1912.04958.
    Departs from the paper: no demodulation; the scale is not normalized.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        code: int,
        *,
        skip: int = 0,
        noise: bool = True,
        enlarge: bool = False,
    ):
        super().__init__()
        self.convolution = convolution(in_channels, out_channels)
        self.skip = nn.Conv2d(skip, out_channels, 1) if skip else None
        self.noise = nn.Parameter(torch.zeros(out_channels, 1, 1)) if noise else None
        self.enlarge = enlarge
        self.affine = nn.Linear(code, 2 * out_channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        with torch.no_grad():
            self.affine.bias.copy_(torch.cat([torch.ones(out_channels), torch.zeros(out_channels)]))

    def scale_and_shift(self, code: Tensor) -> Affine:
        """Shape: code (B, code); returns two of (B, out, 1, 1)."""
        scale, shift = self.affine(code).float()[..., None, None].chunk(2, dim=1)
        return scale, shift

    def forward(self, features: Tensor, affine: Affine, noise: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.enlarge:
            hidden = enlarged_convolution(features, self.convolution.weight, self.convolution.bias)
        else:
            hidden = self.convolution(features)
        # In place: on the CPU a fresh buffer of this size costs more than the sum. Nothing here needs the old values.
        if self.skip is not None:
            hidden += self.skip(skip)
        if self.noise is not None:
            hidden.addcmul_(self.noise.to(hidden.dtype), noise.to(hidden.dtype))
        return scaled(hidden, affine)


class StyledBlock(nn.Module):
    """x + styled(relu(styled(x))). Source: He et al. 2016; Johnson et al. 2016 without the last ReLU."""

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.first = StyledLayer(channels, channels, code)
        self.second = StyledLayer(channels, channels, code, noise=False)

    def forward(self, features: Tensor, first: Affine, second: Affine, noise: Tensor) -> Tensor:
        hidden = F.relu_(self.first(features, first, noise))
        result: Tensor = features + self.second(hidden, second, noise)
        return result


def enlarged_convolution(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The 3x3 convolution, with reflection at the borders, of features enlarged twice by nearest neighbours.

    Each output pixel sees 2x2 small pixels, so four 2x2 kernels of summed weights do it with 4/9 of the arithmetic.
    Shape: features (B, in, H, W) and weight (out, in, 3, 3) to (B, out, 2 H, 2 W).
    """
    top, middle, bottom = weight.unbind(dim=2)
    rows = torch.stack([torch.stack([top, middle + bottom], 2), torch.stack([top + middle, bottom], 2)], 1)
    left, centre, right = rows.unbind(dim=-1)
    kernels = torch.stack([torch.stack([left, centre + right], -1), torch.stack([left + centre, right], -1)], 2)
    # (out, row phase, column phase, in, 2, 2) -> the channels that pixel_shuffle makes pixels of.
    out, inside = weight.shape[:2]
    kernels = kernels.reshape(4 * out, inside, 2, 2)
    bias = None if bias is None else bias.repeat_interleave(4)
    # The reflection of an image that is enlarged twice is the replication of the small one.
    phases = F.conv2d(F.pad(features, (1, 1, 1, 1), mode="replicate"), kernels, bias)
    height, width = features.shape[-2:]
    phases = phases.unflatten(1, (out, 2, 2))
    rows = torch.stack([phases[:, :, 0, :, :height], phases[:, :, 1, :, 1:]], dim=2)
    both = torch.stack([rows[:, :, :, 0, :, :width], rows[:, :, :, 1, :, 1:]], dim=3)
    return both.permute(0, 1, 4, 2, 5, 3).reshape(len(features), out, 2 * height, 2 * width)


def scaled(features: Tensor, affine: Affine) -> Tensor:
    """features * scale + shift, in the type of the features."""
    scale, shift = affine
    return torch.addcmul(shift.to(features.dtype), features, scale.to(features.dtype))


def periodic(pattern: Tensor, origin: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """A piece of the plane that is tiled with a pattern. Shape: (1, 1, h, w) to (1, 1, *sides)."""
    rows, columns = (
        (torch.arange(length, device=pattern.device) + start) % period
        for start, length, period in zip(origin, sides, pattern.shape[-2:], strict=True)
    )
    return pattern[..., rows[:, None], columns]
