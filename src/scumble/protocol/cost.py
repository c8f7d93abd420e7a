"""What one picture costs: the time and the memory of a generator."""

import time
import weakref
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# So many times, or for so many seconds if that is less: a method that optimizes takes minutes for a picture.
REPEATS, SECONDS = 5, 5.0


def inference_cost(generator: nn.Module, size: int, device: str) -> dict[str, float]:
    """The median seconds and the peak bytes of one picture of ``size`` x ``size``, after one that is not counted.

    On CUDA the bytes are the allocator's, elsewhere those of the tensors that live at once; the weights and the two
    images are not among them.
    """
    content, style = torch.rand(2, 1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    is_cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(), torch.no_grad():
        peak = _peak_bytes(generator, content, style, is_cuda)
        seconds: list[float] = []
        while not seconds or (len(seconds) < REPEATS and sum(seconds) < SECONDS):
            start = time.perf_counter()
            generator(content, style)
            if is_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return {"seconds": median(seconds), "peak_bytes": peak}


def _peak_bytes(generator: nn.Module, content: Tensor, style: Tensor, is_cuda: bool) -> int:
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = int(torch.cuda.memory_allocated())
        generator(content, style)
        return int(torch.cuda.max_memory_allocated()) - before
    living = _LivingTensors()
    with living:
        generator(content, style)
    return living.peak


class _LivingTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations return, for as long as anyone holds them.

    The peak of the process would not do: an allocator keeps what it once had.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        returned = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(returned):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if id(storage) not in given and id(storage) not in self._known:
                    self._known[id(storage)] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._forget, id(storage))
        self.peak = max(self.peak, self.now)
        return returned

    def _forget(self, key: int) -> None:
        self.now -= self._known.pop(key)
