"""Loss weights that depend on the strength of every sample, so that one generator learns the whole trade-off."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


class LossConditional:
    """Factors on the weights of named loss terms, from the lowest at strength 0 to the highest at strength 1.

    Between the ends of its range a factor is low^(1 - strength) * high^strength. Where the objective has a ``content``
    term, it and the named terms are then multiplied by one number for each sample, so that their weights always have
    the same sum, the one at half strength: gradients of weak and strong samples are of like size.
    Source: Dosovitskiy and Djolonga 2020, section 3, https://openreview.net/forum?id=HyxY6JHKwr.
    Departs from the paper: the sum is kept, and the generator takes one number in place of all weights.
    Raises: ValueError for terms that are not accepted, and for ranges that are not 0 < low <= high.
    """

    def __init__(self, ranges: Mapping[str, Sequence[float]], accepted: Iterable[str]):
        accepted = tuple(accepted)
        for name, limits in ranges.items():
            if name not in accepted:
                raise ValueError(
                    f"task.loss_conditional names the unknown loss term {name!r}; accepted: {', '.join(accepted)}"
                )
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise ValueError(
                    f"task.loss_conditional.{name} must be [low, high] with 0 < low <= high, got {list(limits)}"
                )
        self.ranges = {name: (float(low), float(high)) for name, (low, high) in ranges.items()}

    def draw(self, like: Tensor) -> Tensor:
        """A random strength in [0, 1) for every image of a batch. Shape: (B, ...) to (B,)."""
        return torch.rand(len(like), device=like.device)

    def weights(self, strengths: Tensor, weights: Mapping[str, float]) -> dict[str, float | Tensor]:
        """The weights of every sample's terms: numbers, and (B,) for the terms that depend on the strength."""
        conditional = {name: weights[name] * self._factor(name, strengths) for name in self.ranges if name in weights}
        if "content" not in weights or not conditional:
            return {**weights, **conditional}
        middle = {
            name: weights[name] * math.sqrt(low * high) for name, (low, high) in self.ranges.items() if name in weights
        }
        balanced = {"content": torch.full_like(strengths, weights["content"]), **conditional}
        scale = (weights["content"] + sum(middle.values())) / torch.stack(list(balanced.values())).sum(dim=0)
        return {**weights, **{name: scale * weight for name, weight in balanced.items()}}

    def _factor(self, name: str, strengths: Tensor) -> Tensor:
        low, high = self.ranges[name]
        return low * (high / low) ** strengths
