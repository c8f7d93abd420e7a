"""Numbers that are measured keep all their digits, whatever precision a run is trained in."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")


def in_float32(measure: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """The function without autocast, its half-precision tensors as float32.

    In bfloat16 the variances of SSIM are lost in rounding: an image compared with itself has 0.63.
    """

    @wraps(measure)
    def measured(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
        given, named = tree_map(_widened, (args, kwargs))
        with ExitStack() as stack:
            for device in filter(torch.is_autocast_enabled, ("cpu", "cuda", "mps", "xpu")):
                stack.enter_context(torch.autocast(device, enabled=False))
            return measure(*given, **named)

    return measured


def _widened(leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.dtype in (torch.bfloat16, torch.float16) else leaf
