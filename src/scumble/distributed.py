"""Several processes, the ranks: how many there are, and what they average, share and gather.

A run starts its ranks with Lightning (:mod:`scumble.strategies`), an evaluation with torchrun (:func:`ranks`).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def world_size() -> int:
    """How many ranks there are; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def own_rank() -> int:
    """The number of this rank; 0 without a process group."""
    return distributed.get_rank() if world_size() > 1 else 0


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Replace tensors of one type by their means over the ranks, in one all-reduce."""
    tensors = list(tensors)
    if world_size() == 1 or not tensors:
        return
    flat = _flatten(tensors)
    distributed.all_reduce(flat)
    _unflatten(flat.div_(world_size()), tensors)


@torch.no_grad()
def share(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first rank, in one broadcast for each type."""
    if world_size() == 1:
        return
    for _, group in groupby(sorted(tensors, key=lambda tensor: str(tensor.dtype)), key=lambda tensor: tensor.dtype):
        same_type = list(group)
        flat = _flatten(same_type)
        distributed.broadcast(flat, src=0)
        _unflatten(flat, same_type)


@torch.no_grad()
def gather(tensor: Tensor) -> Tensor:
    """The tensors (...) of all ranks, which have one shape, as (ranks, ...)."""
    if world_size() == 1:
        return tensor[None]
    gathered = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
    distributed.all_gather(gathered, tensor.contiguous())
    return torch.stack(gathered)


def gather_objects(own: T) -> list[T]:
    """The objects of all ranks, in their order."""
    if world_size() == 1:
        return [own]
    objects = [own] * world_size()
    distributed.all_gather_object(objects, own)
    return objects


def _flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: list[Tensor]) -> None:
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


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
        distributed.gather_object(part, parts)
        return parts


@contextmanager
def ranks() -> Iterator[Ranks]:
    """The processes of this evaluation, connected: all that torchrun started (RANK, WORLD_SIZE), or this one alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(0, 1)
        return
    distributed.init_process_group("gloo")
    try:
        yield Ranks(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
