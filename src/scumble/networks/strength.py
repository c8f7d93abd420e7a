"""Generators that take a strength: G(content, style, strength), with a strength in [0, 1]."""

from torch import nn


def takes_strength(generator: nn.Module) -> bool:
    """Whether a generator takes a strength; it then has a ``default_strength``."""
    return hasattr(generator, "default_strength")
