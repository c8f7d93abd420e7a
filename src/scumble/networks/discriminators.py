"""Discriminators: D(images, condition) -> logits, raw and per patch. High means a real painting."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from scumble.statistics import channel_moments


class PatchDiscriminator(nn.Module):
    """A fully convolutional discriminator: one logit per overlapping patch.

    Shape: images (B, 3, H, W) in [0, 1] and an optional condition (B, 3, h, w); returns logits (B, 1, H', W') with
    H' = H / 2^(layers). With ``conditional=True`` it judges whether the image is a painting *in the style of the
    condition*: the projection of a code of the condition on the features is added to the logits (Miyato and Koyama
    2018, https://arxiv.org/abs/1802.05637).
    Source: Isola et al. 2017, section 3.2.2, https://arxiv.org/abs/1611.07004; spectral normalization of Miyato et al.
    2018, https://arxiv.org/abs/1802.05957.
    Departs from the paper: no normalization of activations, since spectral normalization does its work.
    """

    def __init__(self, width: int = 32, layers: int = 3, conditional: bool = False, spectral: bool = True):
        super().__init__()
        if layers < 1:
            raise ValueError(f"discriminator.layers must be at least 1, got {layers}")
        self.minimum_side = 2 ** (layers + 1)

        def normalize(layer: nn.Module) -> nn.Module:
            return spectral_norm(layer) if spectral else layer

        channels = [3] + [width * min(2**level, 8) for level in range(layers)]
        body: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            body += [normalize(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        body += [normalize(nn.Conv2d(channels[-1], channels[-1], 3, padding=1)), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*body)
        self.logits = normalize(nn.Conv2d(channels[-1], 1, 3, padding=1))
        self.condition = normalize(nn.Linear(2 * channels[-1], channels[-1])) if conditional else None

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        _check_sides(self.minimum_side, images, condition)
        features = self.body(images * 2 - 1)
        logits: Tensor = self.logits(features)
        if self.condition is None:
            return logits
        if condition is None:
            raise ValueError("a conditional discriminator needs the style image as its condition")
        moments = channel_moments(self.body(condition * 2 - 1))
        code = self.condition(F.normalize(torch.cat(moments, dim=1).flatten(1), dim=1))
        projection: Tensor = (code[..., None, None] * features).sum(dim=1, keepdim=True) / features.shape[1] ** 0.5
        return logits + projection


class MultiscaleDiscriminator(nn.Module):
    """Patch discriminators on the image at full, half, quarter ... size; a list of their logits.

    Shape: as :class:`PatchDiscriminator`, a list with one entry per scale, the finest first.
    Source: Wang et al. 2018, section 3.2, https://arxiv.org/abs/1711.11585.
    """

    def __init__(
        self, scales: int = 2, width: int = 32, layers: int = 3, conditional: bool = False, spectral: bool = True
    ):
        super().__init__()
        if scales < 1:
            raise ValueError(f"discriminator.scales must be at least 1, got {scales}")
        self.scales = nn.ModuleList(PatchDiscriminator(width, layers, conditional, spectral) for _ in range(scales))
        self.minimum_side = 2 ** (layers + scales)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        _check_sides(self.minimum_side, images, condition)
        logits = []
        for level, discriminator in enumerate(self.scales):
            if level:
                images = F.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)
            logits.append(discriminator(images, condition))
        return logits


def _check_sides(minimum: int, images: Tensor, condition: Tensor | None) -> None:
    for given in (images,) if condition is None else (images, condition):
        height, width = given.shape[-2:]
        if min(height, width) < minimum:
            raise ValueError(
                f"the discriminator needs image sides of at least {minimum}, got {width}x{height}; set data.image_size "
                "higher, or discriminator.layers or discriminator.scales lower"
            )
