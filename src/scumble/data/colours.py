"""Random changes of an image's colours, which keep its drawing."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Orthonormal opponent colours: rows of grey, red against green, and yellow against blue.
OPPONENT = torch.tensor(
    [[1 / math.sqrt(3)] * 3, [1 / math.sqrt(2), -1 / math.sqrt(2), 0.0], [1 / math.sqrt(6)] * 2 + [-2 / math.sqrt(6)]]
)


class ColourChange(NamedTuple):
    """A turn of all hues in radians, two factors, and what is added to every channel."""

    turn: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0


def random_colour_change(random: np.random.Generator) -> ColourChange:
    """Any turn of the hues, saturation in [0.3, 1.5], contrast in [0.65, 1.35] and brightness in [-0.15, 0.15]."""
    return ColourChange(
        random.uniform(-math.pi, math.pi),
        random.uniform(0.3, 1.5),
        random.uniform(0.65, 1.35),
        random.uniform(-0.15, 0.15),
    )


def change_colours(image: Tensor, change: ColourChange) -> Tensor:
    """The image with other colours, clamped to [0, 1].

    In orthonormal opponent colours (g, a, b), where g is the grey axis and m the mean of g over the image:
    g' = m + contrast (g - m) + sqrt(3) brightness, and (a', b') is saturation times (a, b) turned about the grey axis.
    So grey stays grey, and unless values are clamped only ``brightness`` changes the mean of all channels.

    Shape: image (3, H, W) in [0, 1] to the same.
    """
    grey, first, second = torch.einsum("ij,jhw->ihw", OPPONENT, image)
    mean = grey.mean()
    grey = mean + change.contrast * (grey - mean) + math.sqrt(3) * change.brightness
    cosine, sine = change.saturation * math.cos(change.turn), change.saturation * math.sin(change.turn)
    changed = torch.stack([grey, cosine * first - sine * second, sine * first + cosine * second])
    return torch.einsum("ij,ihw->jhw", OPPONENT, changed).clamp(0, 1)
