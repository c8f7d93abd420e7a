"""Differentiable augmentation of the images that a discriminator sees.

With few paintings a discriminator learns them by heart. It does not if it never sees the same picture twice, and the
generator does not learn to paint the changes if both real and generated images are changed, in both players' turns.
Images (B, C, H, W) in [0, 1]; every image of a batch is changed in another way, drawn from torch's default generator.
Source: Zhao et al. 2020, section 3.2, https://arxiv.org/abs/2006.10738.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Augmentation = Callable[[Tensor], Tensor]

# What fills the pixels without an image: 0 for a discriminator, which moves images to [-1, 1].
GREY = 0.5


class DiffAugment:
    """The policies of the given names, one after the other: ``colour``, ``translation`` and ``cutout``.

    Shape: images (B, C, H, W) in [0, 1] to the same; ``colour`` may leave [0, 1].
    Raises: ValueError for an unknown policy.
    """

    def __init__(self, policies: Sequence[str] = ("colour", "translation", "cutout")):
        if isinstance(policies, str) or not set(policies) <= POLICIES.keys():
            accepted = ", ".join(POLICIES)
            raise ValueError(f"augmentation.policies must be a list of some of {accepted}, got {policies!r}")
        self.policies = tuple(policies)

    def __call__(self, images: Tensor) -> Tensor:
        for name in self.policies:
            images = POLICIES[name](images)
        return images


def colour(images: Tensor) -> Tensor:
    """Images with another brightness (by up to 1/4), saturation (times 0 to 2) and contrast (times 1/2 to 3/2)."""
    images = images + 0.5 * (_uniform(images) - 0.5)
    images = torch.lerp(images.mean(dim=1, keepdim=True), images, 2 * _uniform(images))
    return torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, 0.5 + _uniform(images))


def translation(images: Tensor) -> Tensor:
    """Images moved by up to an eighth of their sides; grey enters at the other side."""
    height, width = images.shape[-2:]
    rows, columns = (_moved(images, side) for side in (height, width))
    inside = _inside(rows, height)[:, None, :, None] & _inside(columns, width)[:, None, None, :]
    moved = images.gather(2, rows.clamp(0, height - 1)[:, None, :, None].expand_as(images))
    moved = moved.gather(3, columns.clamp(0, width - 1)[:, None, None, :].expand_as(images))
    return torch.where(inside, moved, GREY)


def cutout(images: Tensor) -> Tensor:
    """Images with a grey rectangle of half their sides, which may reach over the border."""
    rows, columns = (_cut(images, side) for side in images.shape[-2:])
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], GREY, images)


POLICIES: dict[str, Augmentation] = {"colour": colour, "translation": translation, "cutout": cutout}


def _moved(images: Tensor, side: int) -> Tensor:
    """For every place of a side the place in the image that comes there, (B, side), perhaps beyond its border."""
    reach = side // 8
    distance = torch.randint(-reach, reach + 1, (len(images), 1), device=images.device)
    return torch.arange(side, device=images.device) + distance


def _inside(places: Tensor, side: int) -> Tensor:
    return (places >= 0) & (places < side)


def _cut(images: Tensor, side: int) -> Tensor:
    """Which places of a side are cut out, booleans (B, side)."""
    size = side // 2
    start = torch.randint(0, side + 1 - size % 2, (len(images), 1), device=images.device) - size // 2
    return _inside(torch.arange(side, device=images.device) - start, size)


def _uniform(images: Tensor) -> Tensor:
    """A number in [0, 1) for each image, (B, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)
