"""What the processes of a run, its ranks, do together: average gradients, share buffers, see each other's images."""

from collections.abc import Iterable
from itertools import groupby
from typing import TypeVar

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed

T = TypeVar("T")


class ManualDDP(DDPStrategy):
    """Lightning's DDP without torch's wrapper: the ranks start with the same weights, the task averages gradients.

    The wrapper would reduce the gradients of all networks in every backward pass, those of G and D in the turn of
    either, and in every step of an accumulation. :meth:`scumble.tasks.manual.ManualTask.update` reduces those of one
    network, once for each update of its weights.
    """

    def configure_ddp(self) -> None:
        assert self.model is not None
        share([*self.model.parameters(), *self.model.buffers()])


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
