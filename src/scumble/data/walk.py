"""The order in which training walks its sets of images: a pure function of (seed, position, rank, world size)."""

from abc import abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from scumble.seeding import ORDER, mix

Sample = TypeVar("Sample")


class EndlessBatches(Sampler[list[Sample]]):
    """Endless batches of samples from position ``start`` of the walk on.

    A global batch is the next B positions, where B is the batch size of all ranks together: the ranks of a world share
    it without overlap, and the batches of a given global size are the same for every number of ranks. Nothing is
    remembered between batches, so resume needs no state but the position, and any B may go on from there.
    """

    def __init__(self, batch_size: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1):
        self.batch_size, self.seed, self.start = batch_size, seed, start
        self.rank, self.world_size = rank, world_size

    @abstractmethod
    def sample(self, position: int) -> Sample:
        """What the data set is asked for at a position of the walk; a pure function of the seed and the position."""

    def batch(self, number: int) -> list[Sample]:
        """The part of a global batch, counted from the start, that is of this rank."""
        first = self.start + (number * self.world_size + self.rank) * self.batch_size
        return [self.sample(position) for position in range(first, first + self.batch_size)]

    def __iter__(self) -> Iterator[list[Sample]]:
        return map(self.batch, count())


def visit(seed: int, side: int, size: int, position: int) -> int:
    """The image that set number ``side`` of ``size`` images shows at a position of its walk.

    Every epoch has a random order of its own, in which no image is lost or repeated.
    """
    epoch, index = divmod(position, size)
    return int(_order(seed, side, epoch, size)[index])


@lru_cache(maxsize=8)
def _order(seed: int, side: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(mix(seed, ORDER, side, epoch)).permutation(size)
