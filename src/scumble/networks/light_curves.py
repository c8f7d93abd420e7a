"""Generators that only change the light of an image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.layers import check_image_sides, convolution


class LightCurves(nn.Module):
    """A photograph under better light: the curve x + a x (1 - x), ``iterations`` times, with a map a of its own.

    A small network reads the map from the image, reduced by ``reduction``; a in [-1, 1] keeps the curve rising and the
    values in [0, 1]. It starts near a = 0, the image as it is. A style image is not looked at.

    Shape: content (B, 3, H, W) to (B, 3, H, W), in [0, 1], any sides of at least ``minimum_side``.
    Raises: ValueError if an image is smaller than ``minimum_side``.
    Source: Guo et al. 2020, section 3.1, https://arxiv.org/abs/2001.06826; one map for all iterations, read from a
    reduced image, of Li et al. 2021, https://arxiv.org/abs/2103.00860.
    Departs from the paper: a strided convolution stands for one of its seven layers, and none are skipped to.
    """

    minimum_side = 16

    def __init__(self, width: int = 32, iterations: int = 8, reduction: int = 4):
        super().__init__()
        if iterations < 1 or reduction < 1:
            raise ValueError(
                f"generator.iterations and generator.reduction must be at least 1, got {iterations} and {reduction}"
            )
        self.iterations, self.reduction = iterations, reduction
        self.body = nn.Sequential(
            convolution(3, width), nn.ReLU(inplace=True),
            convolution(width, width, stride=2), nn.ReLU(inplace=True),
            convolution(width, width), nn.ReLU(inplace=True),
            convolution(width, width), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.to_curves = convolution(width, 3)

    def forward(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        check_image_sides(self.minimum_side, content)
        curves = self.curves(content)
        image = content
        for _ in range(self.iterations):
            image = image + curves * image * (1 - image)
        return image

    def curves(self, content: Tensor) -> Tensor:
        """The map a, smooth and of the size of the image: (B, 3, H, W) in [-1, 1]."""
        height, width = content.shape[-2:]
        # The convolutions reflect at the border, which takes four pixels.
        small = (max(4, height // self.reduction), max(4, width // self.reduction))
        reduced = F.interpolate(content, small, mode="bilinear", antialias=True)
        curves = torch.tanh(self.to_curves(self.body(reduced)))
        return F.interpolate(curves, (height, width), mode="bilinear")
