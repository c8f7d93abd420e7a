"""Copies of a network that are not trained: frozen, or the exponential average of its weights."""

from copy import deepcopy

import torch
from torch import nn


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy with the weights of now, in evaluation mode and without gradients."""
    return deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, updates: int) -> None:
    """One step of the exponential average; early in training the decay is lower, to forget the start.

    Buffers are copied. ``updates`` counts the updates of the network until now.
    Source: Karras et al. 2018, section 4, https://arxiv.org/abs/1710.10196; the warm-up of TensorFlow's
    ExponentialMovingAverage, min(decay, (1 + updates) / (10 + updates)).
    """
    decay = min(decay, (1 + updates) / (10 + updates))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)
