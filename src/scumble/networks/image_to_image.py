"""Generators of image-to-image translation: G(content) -> stylized, both (B, 3, H, W) in [0, 1].

They take a style image as well, and do not look at it, so that they stand wherever a generator of style transfer does.
"""

import itertools
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.layers import check_image_sides, convolution, leaky_clamp, pad_to_multiple, tile

Normalization = Literal["instance", "none"]
Downsampling = Literal["strided", "blurred"]
Upsampling = Literal["nearest", "bilinear", "transposed"]


class ResNet(nn.Module):
    """Two strided convolutions, residual blocks, and back: the generator of Johnson et al. and of CycleGAN.

    ``residual=True`` adds the output to the content, from 0 on: an untrained network returns the content. Normalization
    takes brightness and contrast away, which a restoration needs: ``normalization="none"`` keeps them.
    ``upsampling="nearest"`` enlarges and convolves, which leaves no checkerboard (Odena et al. 2016,
    https://doi.org/10.23915/distill.00003); ``"transposed"`` is the paper's transposed convolution. With
    ``downsampling="blurred"`` and ``upsampling="bilinear"`` the layers hardly know where a pixel stands in the grid of
    the strides, and can hardly paint one: the resampling of CUT's generator (Zhang 2019, section 3.2,
    https://arxiv.org/abs/1904.11486). ``"strided"`` is the paper's, and faster. What is flat then stays flat;
    ``grain`` is the strength, at the start, of noise that is added to the decoder's features at each of its sizes, so
    that dots and grains can be painted there (Karras et al. 2019, section 3.2, https://arxiv.org/abs/1812.04948). The
    noise is drawn once and is a part of the weights: the same photograph always becomes the same picture.

    Shape: content (B, 3, H, W) to (B, 3, H, W), in [0, 1], any sides of at least ``minimum_side``; sides that are no
    multiple of 4 are padded by reflection and cropped again. With ``residual`` and in training, values may leave
    [0, 1] a little, lest a saturated pixel lose its gradient.
    Raises: ValueError if an image is smaller than ``minimum_side``.
    Source: Johnson et al. 2016, https://arxiv.org/abs/1603.08155; Zhu et al. 2017, section 4,
    https://arxiv.org/abs/1703.10593 (``width=64, residual_blocks=9``; 6 blocks below 256 pixels).
    Departs from the paper: upsampling; ``residual``; a sigmoid on [0, 1] for the tanh on [-1, 1]; instance
    normalization with learned moments; torch's initial weights instead of N(0, 0.02); ``grain``, which StyleGAN draws
    anew for every image and learns from 0 on.
    """

    minimum_side = 8
    stride = 4

    def __init__(
        self,
        width: int = 64,
        residual_blocks: int = 9,
        normalization: Normalization = "instance",
        downsampling: Downsampling = "strided",
        upsampling: Upsampling = "nearest",
        grain: float = 0.0,
        residual: bool = False,
    ):
        super().__init__()
        for name, value, accepted in (
            ("normalization", normalization, ("instance", "none")),
            ("downsampling", downsampling, ("strided", "blurred")),
            ("upsampling", upsampling, ("nearest", "bilinear", "transposed")),
        ):
            if value not in accepted:
                raise ValueError(f"generator.{name} must be {' or '.join(accepted)}, got {value!r}")
        if not 0 <= grain < float("inf"):
            raise ValueError(f"generator.grain must be a strength of at least 0 (0: none), got {grain}")
        if residual_blocks < 1:
            raise ValueError(f"generator.residual_blocks must be at least 1, got {residual_blocks}")
        self.encoder = nn.ModuleList(
            [
                _level(3, width, normalization, kernel_size=7),
                _halving_level(width, 2 * width, normalization, downsampling),
                _halving_level(2 * width, 4 * width, normalization, downsampling),
            ]
        )
        self.blocks = nn.ModuleList(_Block(4 * width, normalization) for _ in range(residual_blocks))
        levels: list[nn.Module] = [
            _enlarging_level(4 * width, 2 * width, normalization, upsampling),
            _enlarging_level(2 * width, width, normalization, upsampling),
        ]
        if grain:
            before, between, after = (_Grain(channels, grain) for channels in (4 * width, 2 * width, width))
            levels = [before, levels[0], between, levels[1], after]
        self.decoder = nn.Sequential(*levels)
        self.to_rgb = convolution(width, 3, kernel_size=7)
        self.residual = residual
        if residual:
            _start_at_zero(self.to_rgb)
        self.feature_blocks = sorted({0, residual_blocks // 2})
        # The channels of what `encode` returns.
        self.feature_channels = [3, 2 * width, 4 * width] + [4 * width for _ in self.feature_blocks]

    def forward(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        check_image_sides(self.minimum_side, content)
        height, width = content.shape[-2:]
        hidden = pad_to_multiple(content, self.stride) * 2 - 1
        for layer in (*self.encoder, *self.blocks):
            hidden = layer(hidden)
        paint: Tensor = self.to_rgb(self.decoder(hidden))[..., :height, :width]
        return _added(content, paint, self.training) if self.residual else torch.sigmoid(paint)

    def encode(self, images: Tensor) -> list[Tensor]:
        """The images and their features after both strided levels, the first and the middle block.

        Shape: images (B, 3, H, W); returns (B, C, H / s, W / s) with s = 1, 2, 4, 4, 4 and C of ``feature_channels``.
        Source: Park et al. 2020, section 4.1 and appendix C.1, https://arxiv.org/abs/2007.15651.
        Departs from the paper: the features of the strided levels are those after normalization and ReLU.
        """
        check_image_sides(self.minimum_side, images)
        hidden = pad_to_multiple(images, self.stride) * 2 - 1
        features = [hidden]
        for level in self.encoder:
            hidden = level(hidden)
            features.append(hidden)
        del features[1]  # the first level sees 7x7 pixels, little more than the image
        for index in range(self.feature_blocks[-1] + 1):
            hidden = self.blocks[index](hidden)
            if index in self.feature_blocks:
                features.append(hidden)
        return features


class UNet(nn.Module):
    """An encoder and a decoder with a connection at every size, through which fine detail passes: for restoration.

    Level k has ``width * min(2^k, 8)`` channels at the 2^k-th part of the size; there are ``levels`` of them.
    ``residual=True`` adds the output to the content, from 0 on: an untrained network returns the content. Nothing is
    normalized, so brightness and contrast are kept.

    Shape: content (B, 3, H, W) to (B, 3, H, W), in [0, 1], any sides of at least ``minimum_side``; sides that are no
    multiple of 2^(levels - 1) are padded by reflection and cropped again. With ``residual`` and in training, values may
    leave [0, 1] a little, lest a saturated pixel lose its gradient.
    Raises: ValueError if an image is smaller than ``minimum_side``.
    Source: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; Isola et al. 2017, section 3.2.1,
    https://arxiv.org/abs/1611.07004. The residual output: Zhang et al. 2017, section III.A (DnCNN),
    https://arxiv.org/abs/1608.03981.
    Departs from the paper: nearest neighbours and a convolution instead of transposed ones, padding, strided
    convolutions instead of pooling, no normalization, no dropout.
    """

    def __init__(self, width: int = 32, levels: int = 4, residual: bool = True):
        super().__init__()
        if levels < 2:
            raise ValueError(f"generator.levels must be at least 2, got {levels}")
        self.stride = 2 ** (levels - 1)
        self.minimum_side = 2 * self.stride
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.first = nn.Sequential(_level(3, width, "none"), _level(width, width, "none"))
        self.encoder = nn.ModuleList(
            nn.Sequential(_level(before, after, "none", stride=2), _level(after, after, "none"))
            for before, after in itertools.pairwise(widths)
        )
        self.decoder = nn.ModuleList(
            _level(below + beside, beside, "none") for beside, below in reversed(list(itertools.pairwise(widths)))
        )
        self.to_rgb = convolution(width, 3)
        self.residual = residual
        if residual:
            _start_at_zero(self.to_rgb)

    def forward(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        check_image_sides(self.minimum_side, content)
        height, width = content.shape[-2:]
        hidden = self.first(pad_to_multiple(content, self.stride) * 2 - 1)
        beside = []
        for level in self.encoder:
            beside.append(hidden)
            hidden = level(hidden)
        for level in self.decoder:
            hidden = level(torch.cat([F.interpolate(hidden, scale_factor=2.0), beside.pop()], dim=1))
        paint: Tensor = self.to_rgb(hidden)[..., :height, :width]
        return _added(content, paint, self.training) if self.residual else torch.sigmoid(paint)


class _Block(nn.Module):
    """x + f(x) with two 3x3 convolutions and no ReLU after the sum."""

    def __init__(self, channels: int, normalization: Normalization):
        super().__init__()
        # A learned mean at the end would be a constant per channel, which the next normalization takes away.
        last = [nn.InstanceNorm2d(channels)] if normalization == "instance" else []
        self.body = nn.Sequential(
            *_level(channels, channels, normalization),
            convolution(channels, channels, bias=normalization == "none"),
            *last,
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.body(features)
        return out


class _Grain(nn.Module):
    """Adds a pattern of white noise that stays as it was drawn, times a strength that is learned for every channel.

    Shape: (B, C, H, W) to the same; a pattern that is smaller is mirrored.
    """

    pattern: Tensor

    def __init__(self, channels: int, strength: float, side: int = 64):
        super().__init__()
        self.strength = nn.Parameter(torch.full((channels, 1, 1), strength))
        self.register_buffer("pattern", torch.randn(1, 1, side, side))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.strength * tile(self.pattern, *features.shape[-2:])


class _BlurAndHalve(nn.Module):
    """(B, C, H, W) to (B, C, H / 2, W / 2), H and W even: every second pixel, blurred by (1, 2, 1) / 4 both ways."""

    def forward(self, features: Tensor) -> Tensor:
        padded = F.pad(features, (1, 0, 1, 0), mode="reflect")
        # The mean of two neighbouring means of two has these weights.
        return F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2)


def _start_at_zero(layer: nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def _added(content: Tensor, paint: Tensor, training: bool) -> Tensor:
    return leaky_clamp(content + paint) if training else (content + paint).clamp(0, 1)


def _normalize(channels: int, normalization: Normalization) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels, affine=True)] if normalization == "instance" else []


def _level(
    before: int, after: int, normalization: Normalization, kernel_size: int = 3, stride: int = 1
) -> nn.Sequential:
    bias = normalization == "none"  # a normalization takes it away
    layer = convolution(before, after, kernel_size, stride, bias)
    return nn.Sequential(layer, *_normalize(after, normalization), nn.ReLU(inplace=True))


def _halving_level(before: int, after: int, normalization: Normalization, downsampling: Downsampling) -> nn.Sequential:
    if downsampling == "strided":
        return _level(before, after, normalization, stride=2)
    return nn.Sequential(*_level(before, after, normalization), _BlurAndHalve())


def _enlarging_level(before: int, after: int, normalization: Normalization, upsampling: Upsampling) -> nn.Sequential:
    if upsampling != "transposed":
        return nn.Sequential(nn.Upsample(scale_factor=2, mode=upsampling), *_level(before, after, normalization))
    layer = nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1, bias=normalization == "none")
    return nn.Sequential(layer, *_normalize(after, normalization), nn.ReLU(inplace=True))
