"""Losses of every image of a batch, from losses that are means over the batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def per_image(loss: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """The loss of every image by itself: a loss that is a mean over the batch, computed for batches of one.

    ``inputs`` are tensors, or dicts, lists and tuples of them, whose first dimension is the batch.
    Shape: returns (B,).
    """
    count = next(len(leaf) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
    return torch.stack([loss(*_image(inputs, index)) for index in range(count)])


def _image(inputs: Any, index: int) -> Any:
    return pytree.tree_map_only(Tensor, lambda batch: batch[index : index + 1], inputs)
