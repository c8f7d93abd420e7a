"""A painter: turns photographs and noise into paintings, in manners that a person would recognise."""

from collections.abc import Callable

import numpy as np

from scumble.data.painter.canvas import Array, Random, resize
from scumble.data.painter.chalks import charcoal, pastel, pencil
from scumble.data.painter.compositions import compose
from scumble.data.painter.drawings import hatching, ink, watercolour
from scumble.data.painter.oils import drip, impasto, pointillism, swirls
from scumble.data.painter.pieces import cubism, mosaic, stained_glass
from scumble.data.painter.prints import screen_print, ukiyo_e, woodcut

# Raise it when any picture changes: the cache of paintings is keyed by it. A new manner only adds files.
PAINTER_VERSION = 1

MANNERS: dict[str, Callable[[Array, Random], Array]] = {
    "swirls": swirls,
    "impasto": impasto,
    "pointillism": pointillism,
    "hatching": hatching,
    "watercolour": watercolour,
    "mosaic": mosaic,
    "stained_glass": stained_glass,
    "ukiyo_e": ukiyo_e,
    "cubism": cubism,
    "drip": drip,
    "pencil": pencil,
    "ink": ink,
    "woodcut": woodcut,
    "screen_print": screen_print,
    "charcoal": charcoal,
    "pastel": pastel,
}


def frame(photograph: Array, size: int, rng: Random) -> Array:
    """A random square of a photograph, at least four fifths of its shorter side, mirrored half of the time."""
    height, width = photograph.shape[:2]
    side = int(min(height, width) * rng.uniform(0.8, 1))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    square = photograph[top : top + side, left : left + side]
    return resize(square[:, ::-1] if rng.random() < 0.5 else square, size)


def check_manner(manner: str) -> None:
    """Raises: ValueError, with the names that are accepted, unless ``manner`` is one of ``MANNERS``."""
    if manner not in MANNERS:
        raise ValueError(f"unknown manner {manner!r}; choose one of {', '.join(MANNERS)}")


def paint(manner: str, subject: Array | None, size: int, seed: int) -> Array:
    """A painting, which the four arguments decide alone: its palette, strokes and view of the subject.

    Shape: subject (H, W, 3), a photograph in [0, 1], or None for a composition made of noise;
    returns float32 (size, size, 3) in [0, 1].
    Raises: ValueError for an unknown manner.
    """
    check_manner(manner)
    rng = np.random.default_rng(seed)
    picture = compose(size, rng) if subject is None else frame(subject, size, rng)
    return np.clip(MANNERS[manner](picture, rng), 0, 1).astype(np.float32)
