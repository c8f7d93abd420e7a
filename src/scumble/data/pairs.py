"""Pairs of content and style images, in an order that is a pure function of (seed, step, rank, world size)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from scumble.data.image_set import ImageSet, center_crop, random_crop
from scumble.seeding import ORDER, SAMPLE, mix

CONTENT, STYLE = 0, 1


class Pair(NamedTuple):
    """One training sample: the indices of its two images and the seed of its augmentation."""

    content: int
    style: int
    seed: int


class PairBatches(Sampler[list[Pair]]):
    """Endless batches of pairs from step ``start`` on.

    Each set is walked in its own random order, a new one every epoch: no image is lost or repeated within an epoch,
    the ranks of a world share each global batch without overlap, and the batches of a given global size are the same
    for every number of ranks. Nothing is remembered between batches, so resume needs no state but the step.
    """

    def __init__(
        self, contents: int, styles: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1
    ):
        self.contents, self.styles = contents, styles
        self.batch_size, self.seed, self.start = batch_size, seed, start
        self.rank, self.world_size = rank, world_size

    def batch(self, step: int) -> list[Pair]:
        first = (step * self.world_size + self.rank) * self.batch_size
        return [
            Pair(
                content=_visit(self.seed, CONTENT, self.contents, position),
                style=_visit(self.seed, STYLE, self.styles, position),
                seed=mix(self.seed, SAMPLE, position),
            )
            for position in range(first, first + self.batch_size)
        ]

    def __iter__(self) -> Iterator[list[Pair]]:
        step = self.start
        while True:
            yield self.batch(step)
            step += 1


class TrainingPairs(Dataset[dict[str, Tensor]]):
    """Random crops of a content and a style image, (3, image_size, image_size) in [0, 1] each."""

    def __init__(self, content: ImageSet, style: ImageSet, image_size: int, crop_scale: tuple[float, float]):
        self.content, self.style = content, style
        self.image_size, self.crop_scale = image_size, crop_scale

    def __getitem__(self, pair: Pair) -> dict[str, Tensor]:
        random = np.random.default_rng(pair.seed)
        return {
            "content": random_crop(self.content[pair.content], self.image_size, random, self.crop_scale),
            "style": random_crop(self.style[pair.style], self.image_size, random, self.crop_scale),
        }


class ValidationPairs(Dataset[dict[str, Tensor]]):
    """Fixed pairs of center crops: the i-th content image with a style image, every style as often as any other."""

    def __init__(self, content: ImageSet, style: ImageSet, image_size: int, pairs: int):
        self.content, self.style = content, style
        self.image_size, self.pairs = image_size, pairs

    def __len__(self) -> int:
        return self.pairs

    def indices(self, index: int) -> tuple[int, int]:
        contents, styles = len(self.content), len(self.style)
        # Walking the styles evenly over all pairs shows every manner, even when there are fewer pairs than styles.
        return index % contents, (index * styles // self.pairs) % styles if self.pairs < styles else index % styles

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        content, style = self.indices(index)
        return {
            "content": center_crop(self.content[content], self.image_size),
            "style": center_crop(self.style[style], self.image_size),
        }


@lru_cache(maxsize=8)
def _order(seed: int, side: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(mix(seed, ORDER, side, epoch)).permutation(size)


def _visit(seed: int, side: int, size: int, position: int) -> int:
    """The image that a set of ``size`` shows at a position of its endless walk."""
    epoch, index = divmod(position, size)
    return int(_order(seed, side, epoch, size)[index])
