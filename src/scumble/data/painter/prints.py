"""Manners of prints: ukiyo-e with waves, woodcuts in black and white, screen prints."""

import numpy as np
from scipy import ndimage
from skimage import draw

from scumble.data.painter.brush import grooves
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
    tangents,
)
from scumble.data.painter.drawings import contours, equalise
from scumble.data.painter.palettes import BLOCKS_AND_PAPERS, harmonise, jitter, nearest_colour, parse, sample_palette

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


def woodcut(subject: Array, rng: Random) -> Array:
    """One block, one ink: lines that a gouge cut along the forms, broader in the light, between solid black and white.

    Source: the engraved lines of Ostromoukhov 1999, section 2, here as grooves that grow along the forms.
    """
    size = len(subject)
    unit = size / 256
    black, paper = jitter(parse(BLOCKS_AND_PAPERS[rng.integers(len(BLOCKS_AND_PAPERS))]), rng, 2, 2)
    smooth = guided(subject, round(2 * unit) + 1, 0.01)
    tone = equalise(blur(luminance(smooth), 0.8 * unit))
    field = tangents(smooth, 4 * unit) + 0.25 * np.exp(2j * (rng.uniform(0, np.pi) + 0.7 * noise(size, 2, rng)))
    angles = np.angle(blur(field.real, 3 * unit) + 1j * blur(field.imag, 3 * unit)) / 2
    lines = grooves(angles, unit * rng.uniform(5.3, 7.8), rng)
    lines = ndimage.zoom(lines, 2, order=1, grid_mode=True, mode="nearest") + 0.15 * noise(2 * size, 30, rng)
    tone = ndimage.zoom(tone, 2, order=1, grid_mode=True, mode="nearest")
    level = 2.6 * (
        smoothstep(tone, 0.12, 0.88) - rng.uniform(0.38, 0.6)
    )  # above 1 the wood is cut away, below -1 it is left whole
    cut = smoothstep(lines + level, -0.12, 0.12)
    ridges = smoothstep(lines - 1.05 + 0.35 * noise(2 * size, 8, rng, 2), -0.05, 0.1)  # what the gouge missed
    cut = cut * (1 - 0.9 * ridges * (level > 0.9))
    key = contours(tone, 2.0 * unit)
    halo = np.clip(blur(key, 2.2 * unit) * 2, 0, 1) * (tone < 0.5)
    cut = np.maximum(cut, smoothstep(halo, 0.44, 0.5)) * (1 - smoothstep(key, 0.44, 0.56))
    wood = noise(2 * size, 4, rng, 2, (14, 1))
    print_ = smoothstep(grain(2 * size, 1.1 * unit, rng) + 0.5 * wood, -2.9, -1.9)  # the ink does not take everywhere
    page = paper * (1 + 0.02 * grain(2 * size, 1.5, rng) + 0.02 * noise(2 * size, 4, rng, 3))[..., None]
    return halve(blend(page, black * (1 + 0.25 * (1 - print_))[..., None], (1 - cut) * (0.55 + 0.42 * print_)))


def halftone(darkness: Array, cell: float, angle: float) -> Array:
    """Round dots on a turned grid, of an area that follows the darkness. Returns ink, 0 to 1. Shape: (H, W)."""
    y, x = np.mgrid[: len(darkness), : len(darkness)].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = np.cos(2 * np.pi * u / cell) + np.cos(2 * np.pi * v / cell)
    return smoothstep(wave + 4.2 * (darkness - 0.5), -0.25, 0.25)


def screen_print(subject: Array, rng: Random) -> Array:
    """A few flat inks, from light to dark, each a little out of register; in some prints one is a screen of dots."""
    size, palette = len(subject), sample_palette("screen_print", rng)
    unit = 2 * size / 256
    smooth = guided(guided(subject, round(1.5 * unit) + 1, 0.01), round(unit) + 1, 0.006)
    tone = blur(double(equalise(luminance(smooth))), 0.9 * unit)
    inks = palette[::-1]
    levels = np.linspace(0.78, 0.2, len(inks) - 1) + rng.uniform(-0.06, 0.06, len(inks) - 1)
    dotted = int(rng.integers(1, len(inks) - 1)) if rng.random() < 0.5 else 0
    picture = inks[0] * (1 + 0.012 * grain(2 * size, 1.5, rng))[..., None]
    for number, (level, paint) in enumerate(zip(levels, inks[1:], strict=True), 1):
        shift = rng.normal(0, 0.5 * unit, 2)
        moved = ndimage.shift(tone, shift, order=1, mode="nearest")
        stencil = smoothstep(moved + 0.004 * noise(2 * size, 40, rng, 2), level + 0.008, level - 0.008)
        if number == dotted:
            stencil = halftone(smoothstep(moved, level + 0.18, level - 0.12), 2.3 * unit, rng.uniform(0.3, 1.2))
        if number == len(levels):  # the last screen has the drawing
            stencil = np.maximum(stencil, contours(double(luminance(blur(subject, 0.3 * unit))), 0.9 * unit))
        pinholes = smoothstep(grain(2 * size, 0.6 * unit, rng) + 0.3 * noise(2 * size, 5, rng, 2), -3.2, -2.6)
        body = 0.96 - 0.03 * np.abs(noise(2 * size, 3, rng, 3))
        picture = blend(picture, np.broadcast_to(paint, picture.shape), np.clip(stencil * pinholes * body, 0, 1))
    return halve(picture)
