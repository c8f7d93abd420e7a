"""A brush: traces strokes along an orientation field and lays them over one another."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from scumble.data.painter.canvas import Array, Random, blur

# Samples of a stroke are closer than 1/sqrt(2) pixels, so that no pixel inside it is missed.
SPACING = 0.7


class Strokes(NamedTuple):
    """The topmost stroke of every pixel, and where in that stroke the pixel lies."""

    owner: Array  # (H, W) index of the stroke, -1 where there is none
    along: Array  # (H, W) 0 at its start, 1 at its end
    across: Array  # (H, W) -1 and 1 at its sides


def seeds(density: Array, spacing: float, rng: Random) -> Array:
    """Points (x, y) on a jittered lattice, kept with the probability ``density``, in random order. Shape: (N, 2)."""
    height, width = density.shape
    y, x = np.mgrid[spacing / 2 : height : spacing, spacing / 2 : width : spacing]
    points = np.stack([x.ravel(), y.ravel()], -1) + rng.uniform(-0.5, 0.5, (x.size, 2)) * spacing
    points = points[rng.random(len(points)) < pick(density, points)]
    return rng.permutation(points).astype(np.float32)


def pick(values: Array, points: Array) -> Array:
    """The values (H, W, ...) at points (..., 2) given as (x, y), those outside moved to the border."""
    height, width = values.shape[:2]
    x = np.clip(points[..., 0].astype(np.int32), 0, width - 1)
    y = np.clip(points[..., 1].astype(np.int32), 0, height - 1)
    return values[y, x]


def trace(angles: Array, starts: Array, length: float) -> Array:
    """Paths of the given length (pixels) through the middle points ``starts`` along a field of angles.

    Shape: angles (H, W), starts (N, 2); returns (N, K, 2), as (x, y), K samples closer than a pixel.
    Source: the streamlines of Cabral and Leedom 1993, section 3.
    """
    steps = max(2, round(length / 2 / SPACING))
    halves = []
    for sign in (-1, 1):
        points, heading = starts, None
        half = []
        for _ in range(steps):
            angle = pick(angles, points)
            direction = sign * np.stack([np.cos(angle), np.sin(angle)], -1)
            if heading is not None:  # an orientation has two directions: go on, never back
                direction *= np.where((direction * heading).sum(-1, keepdims=True) < 0, -1, 1)
            heading = direction
            points = points + SPACING * direction
            half.append(points)
        halves.append(half)
    return np.stack([*halves[0][::-1], starts, *halves[1]], 1).astype(np.float32)


def along(values: Array, angles: Array, reach: int) -> Array:
    """The values blurred along a field of orientations, over about ``reach`` pixels to either side.

    Each pass doubles the step of the one before, so the cost grows with the logarithm of the reach.
    Shape: values and angles (H, W); returns (H, W).
    Source: the line integral convolution of Cabral and Leedom 1993, section 4.
    """
    y, x = np.mgrid[: values.shape[0], : values.shape[1]].astype(np.float32)
    dy, dx = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    step = 1
    while 2 * step - 1 <= reach:
        sides = [
            ndimage.map_coordinates(values, (y + sign * dy, x + sign * dx), order=1, mode="nearest")
            for sign in (-step, step)
        ]
        values = 0.5 * values + 0.25 * (sides[0] + sides[1])
        step *= 2
    return values


def grooves(angles: Array, width: float, rng: Random, passes: int = 5) -> Array:
    """A relief of ridges and grooves that run along a field of orientations, ``width`` pixels from ridge to ridge.

    They grow out of noise, and fork and end where the field turns. Shape: angles (H, W); returns (H, W) in [-1, 1].
    Source: the synthetic fingerprints of Cappelli et al. 2000, section 3.3.
    """
    relief = rng.standard_normal(angles.shape).astype(np.float32)
    for _ in range(passes):
        relief = along(relief, angles, round(1.2 * width))
        relief = blur(relief, 0.143 * width) - blur(relief, 0.318 * width)  # a pass band around the width
        relief = np.tanh(1.5 * relief / relief.std())
    return relief


def lay(paths: Array, half_widths: Array, size: int, bluntness: float = 4.0) -> Strokes:
    """Lays strokes on an empty canvas, each over those before it.

    A stroke narrows towards its ends: pointed for a small ``bluntness``, rectangular for a large one.
    Shape: paths (N, K, 2); half_widths (N, 1) or (N, K), in pixels.
    """
    samples = paths.shape[1]
    along = np.linspace(-1, 1, samples, dtype=np.float32)
    columns = 2 * int(np.ceil(half_widths.max() / SPACING)) + 1
    across = np.linspace(-1, 1, columns, dtype=np.float32)
    direction = np.gradient(paths, axis=1)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True) + 1e-6
    reach = half_widths * np.sqrt(1 - np.abs(along) ** bluntness)
    offset = reach[:, :, None] * across
    x = (paths[:, :, :1] - direction[:, :, 1:] * offset + 0.5).astype(np.int32)
    y = (paths[:, :, 1:] + direction[:, :, :1] * offset + 0.5).astype(np.int32)
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    top = np.full(size * size, -1, np.int64)
    top[(y * size + x)[inside]] = np.flatnonzero(inside)  # numpy promises that the last of equal indices wins
    sample = top.reshape(size, size)
    owner = np.where(sample < 0, -1, sample // (samples * columns))
    return Strokes(owner, (sample // columns % samples) / (samples - 1), across[sample % columns])


def bristles(strokes: Strokes, rng: Random, hairs: int = 9) -> Array:
    """The height of the paint in the strokes: ridges that the hairs leave, and a thicker rim. Shape: (H, W)."""
    table = ndimage.gaussian_filter1d(rng.standard_normal((257, 4 * hairs)), 1.2, axis=1).astype(np.float32)
    table /= table.std()
    hair = ((strokes.across + 1) / 2 * (4 * hairs - 1)).astype(np.int32)
    ridges = table[strokes.owner % 257, hair] * (1 - 0.5 * strokes.along)
    rim = np.abs(strokes.across) ** 6 + np.abs(2 * strokes.along - 1) ** 20
    body = (strokes.owner * 40503 % 101) / 101  # some strokes carry more paint than others
    return np.where(strokes.owner < 0, 0, 1 + 0.5 * body + 0.25 * ridges + 0.35 * rim).astype(np.float32)
