"""Generators of style transfer: G(content, style) -> stylized, all (B, 3, H, W) in [0, 1]."""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.layers import (
    SelfAttention,
    adaptive_instance_normalization,
    check_image_sides,
    convolution,
    pad_to_multiple,
    tile,
)
from scumble.networks.texture import texture_of
from scumble.statistics import channel_moments


class StyleEncoder(nn.Module):
    """A code of the style, and its texture at every resolution.

    The code is made of the channel means and deviations of a small network's features, which forget where things are;
    the texture is what is finer than a few pixels in those features.
    Shape: (B, 3, H, W) to (B, code) and a list of (B, widths[k], H / 2^k, W / 2^k).
    """

    def __init__(self, widths: Sequence[int], code: int):
        super().__init__()
        channels = [3, *widths]
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(before, after, stride=1 if level == 0 else 2), nn.ReLU(inplace=True))
            for level, (before, after) in enumerate(itertools.pairwise(channels))
        )
        self.code = nn.Sequential(nn.Linear(2 * sum(widths), code), nn.ReLU(inplace=True), nn.Linear(code, code))

    def forward(self, style: Tensor) -> tuple[Tensor, list[Tensor]]:
        moments, textures = [], []
        hidden = style * 2 - 1
        for level, block in enumerate(self.blocks):
            hidden = block(hidden)
            moments += [moment.flatten(1) for moment in channel_moments(hidden)]
            # Finer than 7, 10 and 12 pixels, in blocks of 16 pixels at every level.
            textures.append(texture_of(hidden, window=max(3, 7 - 2 * level), block=16 >> level))
        return self.code(torch.cat(moments, dim=1)), textures


class StyledConvolution(nn.Module):
    """A 3x3 convolution, the texture of the style, and channel moments from the style code (AdaIN) or learned ones.

    A convolution makes little texture out of a flat area, so some of the style's own is laid in, by a learned strength
    per channel, where noise would otherwise be added (Karras et al. 2019, section 3.2,
    https://arxiv.org/abs/1812.04948).
    Shape: (B, in, H, W), code (B, code) and texture (B, out, h, w) to (B, out, H, W). ``code=None`` makes the
    normalization a plain instance normalization.
    """

    def __init__(self, in_channels: int, out_channels: int, code: int | None):
        super().__init__()
        self.convolution = convolution(in_channels, out_channels)
        self.strength = nn.Parameter(torch.full((out_channels, 1, 1), 0.1))
        self.moments = nn.Linear(code, 2 * out_channels) if code is not None else None
        self.constants = nn.Parameter(torch.cat([torch.zeros(out_channels), torch.ones(out_channels)]))

    def forward(self, features: Tensor, code: Tensor, texture: Tensor) -> Tensor:
        hidden = self.convolution(features)
        hidden = hidden + self.strength * tile(texture, *hidden.shape[-2:])
        moments = self.constants.expand(len(features), -1)
        if self.moments is not None:
            moments = moments + self.moments(code)
        mean, deviation = moments[..., None, None].chunk(2, dim=1)
        return adaptive_instance_normalization(hidden, mean, deviation)


class ResidualBlock(nn.Module):
    """x + styled(relu(styled(x))). Source: He et al. 2016; Johnson et al. 2016 without the last ReLU."""

    def __init__(self, channels: int, code: int | None):
        super().__init__()
        self.first = StyledConvolution(channels, channels, code)
        self.second = StyledConvolution(channels, channels, code)

    def forward(self, features: Tensor, code: Tensor, texture: Tensor) -> Tensor:
        hidden = F.relu(self.first(features, code, texture))
        out: Tensor = features + self.second(hidden, code, texture)
        return out


class ResidualAttention(nn.Module):
    """An encoder-decoder with residual blocks and self-attention that paints over the recoloured content.

    The image itself is a residual connection: with ``paint_over`` the decoder's output is added, before the sigmoid, to
    the content with the channel moments of the style (Reinhard et al. 2001, https://doi.org/10.1109/38.946629, in RGB).
    So training starts at a recoloured photograph, and the network learns the painting.

    The content encoder keeps what is where: instance normalization takes its style away (Ulyanov et al. 2017,
    https://arxiv.org/abs/1701.02096). The style enters through adaptive instance normalization in every layer after it
    (``style_injection="adain"``, Huang and Belongie 2017; Huang et al. 2018, https://arxiv.org/abs/1804.04732), or its
    code is concatenated to the content features once (``"concatenation"``). The decoder enlarges by nearest neighbours
    and convolves, which leaves no checkerboard (Odena et al. 2016, https://doi.org/10.23915/distill.00003).

    Shape: content (B, 3, H, W) and style (B, 3, h, w) to (B, 3, H, W), in [0, 1], any sizes of at least
    ``minimum_side``; sides that are no multiple of 4 are padded by reflection and cropped again.
    Raises: ValueError if an image is smaller than ``minimum_side``.
    """

    minimum_side = 8
    stride = 4

    def __init__(
        self,
        width: int = 32,
        residual_blocks: int = 4,
        code: int = 128,
        style_injection: Literal["adain", "concatenation"] = "adain",
        attention_heads: int = 4,
        attention_grid: int = 16,
        paint_over: bool = True,
    ):
        super().__init__()
        if style_injection not in ("adain", "concatenation"):
            raise ValueError(f"generator.style_injection must be adain or concatenation, got {style_injection!r}")
        widths = (width, 2 * width, 4 * width)
        self.style_encoder = StyleEncoder(widths, code)
        self.content_encoder = content_encoder(widths)
        injected = code if style_injection == "adain" else None
        # The ReLU lets the code choose among the content's features; without it the code is a constant per channel,
        # which the next instance normalization takes away.
        self.fuse = (
            nn.Sequential(nn.Conv2d(widths[2] + code, widths[2], 1), nn.ReLU())
            if style_injection == "concatenation"
            else None
        )
        self.blocks = nn.ModuleList(ResidualBlock(widths[2], injected) for _ in range(residual_blocks))
        self.attention = SelfAttention(widths[2], attention_heads, attention_grid)
        self.decoder = nn.ModuleList(
            [StyledConvolution(widths[2], widths[1], injected), StyledConvolution(widths[1], widths[0], injected)]
        )
        self.to_rgb = convolution(widths[0], 3)
        self.paint_over = paint_over

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        check_image_sides(self.minimum_side, content, style)
        height, width = content.shape[-2:]
        code, (fine, medium, coarse) = self.style_encoder(style)
        hidden = self.content_encoder(pad_to_multiple(content, self.stride) * 2 - 1)
        if self.fuse is not None:
            hidden = self.fuse(torch.cat([hidden, code[..., None, None].expand(-1, -1, *hidden.shape[-2:])], dim=1))
        middle = len(self.blocks) // 2
        for index, block in enumerate(self.blocks):
            if index == middle:
                hidden = self.attention(hidden)
            hidden = block(hidden, code, coarse)
        for layer, texture in zip(self.decoder, (medium, fine), strict=True):
            hidden = F.relu(layer(F.interpolate(hidden, scale_factor=2.0), code, texture))
        paint = self.to_rgb(hidden)[..., :height, :width]
        if self.paint_over:
            paint = paint + recolour(content, style).logit(eps=0.02)
        return torch.sigmoid(paint)


class Mix(nn.Module):
    """content_weight * content + style_weight * style, with weights that are given, or learned for every channel.

    Learned weights begin at the given ones. Shape: content (B, C, H, W) and style (B, C) to (B, C, H, W).
    """

    def __init__(self, channels: int, content_weight: float, style_weight: float, learned: bool):
        super().__init__()
        weights = torch.tensor([content_weight, style_weight]).expand(channels, 2).clone()
        self.weights = nn.Parameter(weights, requires_grad=learned)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        content_weights, style_weights = self.weights.unbind(dim=1)
        return content_weights[:, None, None] * content + (style_weights * style)[..., None, None]


class DualEncoder(nn.Module):
    """One trained encoder for the content, one for the style, and a decoder of the mixture of their codes.

    The content's code is a map at every size, the style's a vector that is the same everywhere, made of the channel
    moments of its encoder's features: where things lie comes from the content alone. At every size the codes are added
    to what the decoder has, with ``content_weight`` and ``style_weight``, or, with ``learned_weights``, with weights
    for every channel that begin there. The ReLU after the sum lets the style choose among the content's features. The
    decoder has no normalization, which would take the style away again, and enlarges by nearest neighbours (Odena et
    al. 2016, https://doi.org/10.23915/distill.00003).

    Shape: content (B, 3, H, W) and style (B, 3, h, w) to (B, 3, H, W), in [0, 1], any sizes of at least
    ``minimum_side``; sides that are no multiple of 4 are padded by reflection and cropped again.
    Source: the two encoders and one decoder of Huang et al. 2018, section 3, https://arxiv.org/abs/1804.04732; the
    content's code at every size: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597.
    Departs from the paper: the codes are added, where the paper sets the decoder's moments by the style's.
    Raises: ValueError if an image is smaller than ``minimum_side``.
    """

    minimum_side = 8
    stride = 4

    def __init__(
        self,
        width: int = 24,
        residual_blocks: int = 3,
        content_weight: float = 1.0,
        style_weight: float = 1.0,
        learned_weights: bool = True,
    ):
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.content_encoder = content_encoder(widths)
        self.style_encoder = StyleEncoder(widths, code=sum(widths))
        self.mixes = nn.ModuleList(Mix(channels, content_weight, style_weight, learned_weights) for channels in widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(widths[2], widths[2]), nn.ReLU(inplace=True), convolution(widths[2], widths[2]))
            for _ in range(residual_blocks)
        )
        self.decoder = nn.ModuleList([convolution(widths[2], widths[1]), convolution(widths[1], widths[0])])
        self.to_rgb = convolution(widths[0], 3)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        check_image_sides(self.minimum_side, content, style)
        height, width = content.shape[-2:]
        fine, medium, coarse = self.mixed_codes(pad_to_multiple(content, self.stride), style)
        hidden = F.relu(coarse)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        for layer, mixed in zip(self.decoder, (medium, fine), strict=True):
            hidden = F.relu(layer(F.interpolate(hidden, scale_factor=2.0)) + mixed)
        return torch.sigmoid(self.to_rgb(hidden)[..., :height, :width])

    def mixed_codes(self, content: Tensor, style: Tensor) -> list[Tensor]:
        """The weighted sum of both codes at the whole, the half and the quarter of the content's size."""
        maps = []
        hidden = content * 2 - 1
        for layer in self.content_encoder:
            hidden = layer(hidden)
            if isinstance(layer, nn.ReLU):
                maps.append(hidden)
        code, _ = self.style_encoder(style)
        codes = code.split([of_size.shape[1] for of_size in maps], dim=1)
        return [mix(of_size, its_code) for mix, of_size, its_code in zip(self.mixes, maps, codes, strict=True)]


def content_encoder(widths: Sequence[int]) -> nn.Sequential:
    """Convolutions with instance normalization, which takes the style away, each but the first with half the sides.

    Shape: (B, 3, H, W) to (B, widths[-1], H / 2^k, W / 2^k) with k = len(widths) - 1.
    Source: Ulyanov et al. 2017, https://arxiv.org/abs/1701.02096.
    """
    layers: list[nn.Module] = []
    for level, (before, after) in enumerate(itertools.pairwise([3, *widths])):
        layers.append(convolution(before, after, stride=1 if level == 0 else 2))
        layers += [nn.InstanceNorm2d(after, affine=True), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def recolour(content: Tensor, style: Tensor) -> Tensor:
    """The content with the channel means and deviations of the style, clamped to [0, 1].

    Shape: content (B, 3, H, W) and style (B, 3, h, w) to (B, 3, H, W).
    """
    return adaptive_instance_normalization(content, *channel_moments(style)).clamp(0, 1)
