"""Class labels as inputs of a network."""

from torch import Tensor, cat
from torch.nn import functional as F


def append_labels(inputs: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """Inputs with the one-hot codes of their labels as further channels; with ``classes=0`` the inputs as they are.

    Shape: inputs (B, C) or (B, C, H, W) and labels (B,), integers below ``classes``; returns C + classes channels.
    Source: Mirza and Osindero 2014, section 3.2, https://arxiv.org/abs/1411.1784.
    Raises: ValueError without labels.
    """
    if not classes:
        return inputs
    if labels is None:
        raise ValueError(f"a network with classes={classes} needs labels: data with labels (data=digits), or classes=0")
    codes = F.one_hot(labels, classes).to(inputs.dtype)
    planes = codes.reshape(*codes.shape, *(1 for _ in inputs.shape[2:])).expand(-1, -1, *inputs.shape[2:])
    return cat([inputs, planes], dim=1)
