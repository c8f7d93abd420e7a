"""Schedules: functions of the step, for loss weights and learning rates. They have no state, so resume is exact."""

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]


def constant(step: int) -> float:
    """1 at every step: the learning rate as given."""
    return 1.0


@dataclass(frozen=True)
class Linear:
    """From ``start`` to ``end`` over ``steps`` steps, then ``end``."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


@dataclass(frozen=True)
class Cosine:
    """From ``start`` to ``end`` along half a cosine over ``steps`` steps, after ``warmup`` steps that rise from 0.

    Source: Loshchilov and Hutter 2017, equation 5 without restarts, https://arxiv.org/abs/1608.03983.
    """

    start: float
    end: float
    steps: int
    warmup: int = 0

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"warmup must be at least 0 and less than steps = {self.steps}, got {self.warmup}")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.start * (step + 1) / self.warmup
        progress = min((step - self.warmup) / (self.steps - self.warmup), 1.0)
        return self.end + 0.5 * (self.start - self.end) * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class WarmUp:
    """From 0 to ``value`` over ``steps`` steps, then ``value``."""

    value: float
    steps: int

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, step: int) -> float:
        return self.value * min((step + 1) / self.steps, 1.0)


def as_schedule(value: float | Schedule) -> Schedule:
    """A number as the schedule that always returns it; a schedule as it is."""
    if callable(value):
        return value
    number = float(value)
    return lambda step: number


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a schedule needs at least 1 step, got {steps}")
