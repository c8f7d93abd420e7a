"""Pairs of content and style images."""

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from scumble.data.colours import change_colours, random_colour_change
from scumble.data.image_set import ImageSet, center_crop, random_crop
from scumble.data.walk import EndlessBatches, visit
from scumble.seeding import SAMPLE, mix

CONTENT, STYLE = 0, 1


class Pair(NamedTuple):
    """One training sample: the indices of its two images and the seed of its augmentation."""

    content: int
    style: int
    seed: int


class PairBatches(EndlessBatches[Pair]):
    """Endless batches of pairs: each set is walked in its own order."""

    def __init__(self, contents: int, styles: int, batch_size: int, seed: int, **walk: int):
        super().__init__(batch_size, seed, **walk)
        self.contents, self.styles = contents, styles

    def sample(self, position: int) -> Pair:
        return Pair(
            content=visit(self.seed, CONTENT, self.contents, position),
            style=visit(self.seed, STYLE, self.styles, position),
            seed=mix(self.seed, SAMPLE, position),
        )


class SamePairs(EndlessBatches[int]):
    """The indices of a fixed set of pairs, in turn."""

    def __init__(self, pairs: int, batch_size: int, seed: int, **walk: int):
        super().__init__(batch_size, seed, **walk)
        self.pairs = pairs

    def sample(self, position: int) -> int:
        return position % self.pairs


class TrainingPairs(Dataset[dict[str, Tensor]]):
    """Random crops of a content and a style image, (3, image_size, image_size) in [0, 1] each.

    With the probability ``style_colours`` a style crop gets other colours, by :func:`random_colour_change`. The crops
    are the same for every probability.
    """

    def __init__(
        self,
        content: ImageSet,
        style: ImageSet,
        image_size: int,
        crop_scale: tuple[float, float],
        style_colours: float = 0.0,
    ):
        self.content, self.style = content, style
        self.image_size, self.crop_scale, self.style_colours = image_size, crop_scale, style_colours

    def __getitem__(self, pair: Pair) -> dict[str, Tensor]:
        random = np.random.default_rng(pair.seed)
        content = random_crop(self.content[pair.content], self.image_size, random, self.crop_scale)
        style = random_crop(self.style[pair.style], self.image_size, random, self.crop_scale)
        if self.style_colours and random.random() < self.style_colours:
            style = change_colours(style, random_colour_change(random))
        return {"content": content, "style": style}


class ValidationPairs(Dataset[dict[str, Tensor]]):
    """Fixed pairs of center crops. No pair repeats until all have been used; every image appears equally often."""

    def __init__(self, content: ImageSet, style: ImageSet, image_size: int, pairs: int):
        self.content, self.style = content, style
        self.image_size, self.pairs = image_size, pairs

    def __len__(self) -> int:
        return self.pairs

    def indices(self, index: int) -> tuple[int, int]:
        contents, styles = len(self.content), len(self.style)
        if self.pairs < styles:  # spread over all styles, to show every manner
            return index % contents, index * styles // self.pairs
        # Two walks in step meet again after their least common multiple; the contents then step aside.
        return (index + index // math.lcm(contents, styles)) % contents, index % styles

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        content, style = self.indices(index)
        return {
            "content": center_crop(self.content[content], self.image_size),
            "style": center_crop(self.style[style], self.image_size),
        }
