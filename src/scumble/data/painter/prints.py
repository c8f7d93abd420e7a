"""The manner of coloured woodcuts: ukiyo-e with waves."""

import numpy as np
from skimage import draw

from scumble.data.painter.canvas import (
    Array,
    Random,
    blend,
    blur,
    double,
    grain,
    grid,
    guided,
    halve,
    luminance,
    noise,
    smoothstep,
)
from scumble.data.painter.drawings import contours
from scumble.data.painter.palettes import harmonise, nearest_colour, parse, sample_palette

FOAM = parse("f6f0de")[0]


def below(x: Array, y: Array, size: int) -> Array:
    """Whether each pixel lies below a curve, which may overhang: it has crossed the curve an odd number of times.

    Shape: x, y (K,), in steps of less than a pixel along x; returns (size, size).
    """
    column = np.floor(x).astype(np.int64)
    crossed = np.flatnonzero((column[1:] != column[:-1]) & (np.minimum(column[1:], column[:-1]) >= 0))
    edge = np.maximum(column[1:], column[:-1])[crossed]  # between two columns: it counts for the right one
    row = np.clip(np.round(y[crossed]), 0, size).astype(np.int64)
    crossings = np.zeros((size + 1, size), np.uint8)
    np.add.at(crossings, (row[edge < size], edge[edge < size]), 1)
    return np.cumsum(crossings[:size], axis=0, dtype=np.uint8) % 2 == 1


def stamp(picture: Array, points: Array, radii: Array, paint: Array) -> None:
    """Paints discs on the picture, in place. Shape: points (N, 2) as (x, y), radii (N,)."""
    for (x, y), radius in zip(points, radii, strict=True):
        picture[draw.disk((y, x), max(radius, 0.6), shape=picture.shape[:2])] = paint


def flat_areas(subject: Array, palette: Array, rng: Random) -> Array:
    """The subject as a print from a few blocks: areas of one colour each, a dark upper sky, a key block of outlines."""
    size = len(subject)
    unit = size / 256
    smooth = guided(guided(subject, round(3 * unit) + 1, 0.02), round(5 * unit) + 1, 0.01)
    coloured = harmonise(smooth, palette, rng, 0.5)
    blocks = [palette[nearest_colour(coloured.reshape(-1, 3), palette)].reshape(coloured.shape)]
    picture = double(blend(blur(blocks[0], 0.8 * unit), coloured, 0.15))
    key = contours(double(luminance(blur(coloured, unit))), 1.6 * unit)
    picture = blend(picture, np.broadcast_to(palette[0] * 0.7, picture.shape), 0.85 * key)
    y, _ = grid(2 * size)
    bokashi = 1 - smoothstep(y + 0.01 * noise(2 * size, 6, rng), 0.0, rng.uniform(0.12, 0.3))
    return blend(picture, np.broadcast_to(palette[rng.integers(2)], picture.shape), rng.uniform(0.4, 0.85) * bokashi)


def crest(t: Array, peaks: Array, steepness: float) -> Array:
    """The height of a rank of waves: one pointed peak per unit of ``t``, each of its own height, from 0 to 1."""
    near = np.clip(np.floor(t).astype(int), 0, len(peaks) - 1)
    return peaks[near] * (1 - np.abs(2 * (t - np.floor(t)) - 1)) ** steepness


def claws(x: Array, y: Array, height: Array, lean: float, unit: float, rng: Random) -> tuple[Array, Array]:
    """Discs of foam along the high part of a wave: its white cap, and fingers that hang over on the side it leans to.

    Shape: x, y, height (K,), the crest's line; returns points (N, 2) and radii (N,).
    """
    high = np.flatnonzero(height > 0.42)
    if len(high) == 0:
        return np.zeros((0, 2)), np.zeros(0)
    spots = high[rng.integers(len(high), size=len(high) // 3 + 20)]
    strength = (height[spots] - 0.3)[:, None]
    cap = np.stack([x[spots], y[spots]], -1) + rng.normal(0, 2.2 * unit, (len(spots), 2)) * (0.5 + strength)
    radii = unit * rng.uniform(1.6, 4.2, len(spots)) * (0.6 + strength[:, 0])
    points, sizes = [cap], [radii]
    for spot in spots[: len(spots) // 2]:
        reach, turn = rng.uniform(6, 15) * unit * (height[spot] + 0.2), rng.uniform(0.7, 1.9)
        step = np.linspace(0, 1, 7)
        angle = turn * step - 0.5
        finger = np.stack([np.sign(lean) * np.cos(angle), np.sin(angle)], -1).cumsum(0) / len(step) * reach
        points.append(np.array([x[spot], y[spot]]) + finger)
        sizes.append(unit * np.linspace(2.2, 0.9, len(step)))
    return np.concatenate(points), np.concatenate(sizes)


def wave_rank(picture: Array, palette: Array, base: float, height: float, rng: Random) -> None:
    """One rank of breaking waves across the picture, in place: body, stripes that follow it, claws of foam, spray."""
    size = len(picture)
    unit = size / 256
    count = rng.uniform(1.2, 2.2) * 90 / max(height / unit, 30)
    t = np.linspace(0, count + 1, 32 * size) + rng.uniform(0, 1)
    peaks = rng.uniform(0.55, 1, int(t[-1]) + 2)
    rise = crest(t, peaks, 1.7)
    lean = rng.choice([-1, 1]) * rng.uniform(0.5, 0.9) * height
    ink, deep, middle, pale = palette[0] * 0.8, palette[0], palette[1], palette[3]

    def line(depth: float) -> tuple[Array, Array]:
        """The crest's line sunk by a share of the wave's height; the lines flatten as they sink."""
        lift = rise * max(1 - 0.75 * depth, 0.08)
        x = np.linspace(-0.25, 1.25, len(t)) * size + lean * lift**2.2
        return x, base - height * lift + depth * height * 0.9

    x, y = line(0)
    picture[below(x, y - 1.4 * unit, size)] = ink
    picture[below(x, y, size)] = middle
    for number, depth in enumerate(np.linspace(0.12, 2, 13)):
        picture[below(*line(depth), size)] = (pale, deep, FOAM, middle)[number % 4]
        picture[below(*line(depth + rng.uniform(0.03, 0.07)), size)] = (middle, deep)[number % 2]
    x, y, rise = x[:: 32 * size // 900], y[:: 32 * size // 900], rise[:: 32 * size // 900]
    points, radii = claws(x, y, rise, lean, height / 70, rng)
    stamp(picture, points, radii + 1.1 * unit, ink)
    stamp(picture, points, radii, FOAM)
    inner = rng.random(len(points)) < 0.25
    stamp(picture, points[inner] + 0.6 * unit, 0.5 * radii[inner], blend(FOAM, pale, 0.7))
    high = np.flatnonzero(rise > 0.5)
    if len(high):
        spots = high[rng.integers(len(high), size=30)]
        spray = np.stack([x[spots], y[spots]], -1) + rng.normal(0, 0.16 * height, (30, 2)) - (0, 0.14 * height)
        stamp(picture, spray, unit * rng.uniform(0.7, 1.6, 30), FOAM)


def ukiyo_e(subject: Array, rng: Random) -> Array:
    """A woodcut: flat colours with outlines, wood grain, and ranks of clawed waves below, after Hokusai."""
    size, palette = len(subject), sample_palette("ukiyo_e", rng)
    picture = flat_areas(subject, palette, rng)
    ranks = int(rng.integers(2, 5))
    top = rng.uniform(0.62, 0.8)
    sea = palette if rng.random() < 0.3 else parse("10284f 1f4f86 4f86b0 9cc0cc d9cfae efe4c8 c8643c")
    for near in np.linspace(0, 1, ranks):
        height = 2 * size * (0.12 + 0.12 * near + rng.uniform(0, 0.12))
        wave_rank(picture, sea, 2 * size * (top + (1.02 - top) * near), height, rng)
    wood = noise(2 * size, 3, rng, 2, (12, 1)) * 0.6 + noise(2 * size, 6, rng, 2, (16, 0.6)) * 0.4
    paper = 1 + 0.022 * np.sin(5 * wood) + 0.02 * grain(2 * size, 1.5, rng)
    return halve(picture * paper[..., None] * np.array([1, 0.985, 0.95]))
