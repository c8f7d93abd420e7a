"""Sharing the pairs of an evaluation among the processes that torchrun starts."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch.distributed

T = TypeVar("T")


class Ranks(NamedTuple):
    """Which process this is, of how many."""

    rank: int
    world: int

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """The part of this process: parts follow each other, so that the pairs of one content stay together."""
        return work[self.rank * len(work) // self.world : (self.rank + 1) * len(work) // self.world]

    def gather(self, part: T) -> list[T] | None:
        """The parts of all processes at the first one; None at the others."""
        if self.world == 1:
            return [part]
        parts: list[T] | None = [part] * self.world if self.rank == 0 else None
        torch.distributed.gather_object(part, parts)
        return parts


@contextmanager
def ranks() -> Iterator[Ranks]:
    """The processes of this evaluation, connected: those of torchrun (RANK, WORLD_SIZE), or this one alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(0, 1)
        return
    torch.distributed.init_process_group("gloo")
    try:
        yield Ranks(torch.distributed.get_rank(), world)
    finally:
        torch.distributed.destroy_process_group()
