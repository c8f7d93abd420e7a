"""Manners of dry pigment on rough paper: pencil, charcoal with white chalk, pastel."""

import numpy as np

from scumble.data.painter.brush import along, lay, pick, seeds, trace
from scumble.data.painter.canvas import (
    Array,
    Random,
    blend,
    blur,
    double,
    grain,
    grid,
    halve,
    luminance,
    noise,
    smoothstep,
    tangents,
    warp,
)
from scumble.data.painter.drawings import contours, equalise
from scumble.data.painter.palettes import (
    CHARCOALS_AND_PAPERS,
    PENCILS_AND_PAPERS,
    harmonise,
    jitter,
    parse,
    sample_palette,
)


def tooth(size: int, unit: float, rng: Random) -> Array:
    """The relief of drawing paper, some with laid lines; the standard deviation is 1. Shape: (size, size)."""
    relief = grain(size, 0.6 * unit, rng) + 0.4 * grain(size, 1.4 * unit, rng)
    if rng.random() < 0.3:
        y, _ = grid(size)
        relief = relief + 0.5 * np.sin(2 * np.pi * y * size / (2.6 * unit) + 0.5 * noise(size, 6, rng))
    return relief / relief.std()


def rub(pressure: Array, relief: Array) -> Array:
    """The share of the paper that a dry stick covers: the peaks when it is light, the hollows too when it presses."""
    return smoothstep(relief + 5 * pressure, 1.0, 4.4)


def strands(angles: Array, thickness: float, length: float, rng: Random) -> Array:
    """Fine parallel strokes along a field of angles, of mean 0 and standard deviation 1. Shape: (H, W).

    Source: the pencil texture of Mao et al. 2001, section 3, by line integral convolution.
    """
    streaks = along(grain(len(angles), thickness, rng), angles, round(length))
    return (streaks - streaks.mean()) / streaks.std()


def hand(tone: Array, main: float, follow: float, unit: float, rng: Random) -> Array:
    """The angles of a hand's strokes: one main direction, which turns with the forms by ``follow``. Shape: (H, W)."""
    image = np.repeat(tone[..., None], 3, -1)
    field = np.exp(2j * (main + 0.12 * noise(len(tone), 3, rng))) + follow * tangents(image, 5 * unit)
    return np.angle(blur(field.real, 2 * unit) + 1j * blur(field.imag, 2 * unit)) / 2


def vignette(size: int, rng: Random) -> Array:
    """1 inside, and for half of the drawings less towards a ragged border: the hand leaves the edge bare."""
    if rng.random() < 0.5:
        return np.ones((size, size), np.float32)
    y, x = grid(size)
    border = np.minimum(np.minimum(y, 1 - y), np.minimum(x, 1 - x)) + 0.03 * noise(size, 5, rng, 3)
    return smoothstep(border, 0.0, 0.14)


def outlines(tone: Array, sigma: float, unit: float, rng: Random, restated: int = 2) -> Array:
    """Contours, drawn ``restated`` times with a hand that wavers, pressed harder in some places. Range [0, 1]."""
    size, lines = len(tone), np.zeros_like(tone)
    for _ in range(restated):
        wobble = [1.6 * unit * noise(size, 9, rng, 2) for _ in range(2)]
        moved = warp(tone[..., None], *wobble)[..., 0]
        pressure = 0.62 + 0.38 * np.clip(noise(size, 8, rng, 2), -1.2, 1)
        lines = 1 - (1 - lines) * (1 - contours(moved, sigma) * pressure * rng.uniform(0.6, 0.9))
    return lines


def sheet(paper: Array, relief: Array, rng: Random) -> Array:
    """A sheet of paper, lit from the side, unevenly aged. Shape: paper (3,), relief (H, W); returns (H, W, 3)."""
    uneven = 1 + 0.018 * relief + 0.02 * noise(len(relief), 3, rng, 4)
    return paper * uneven[..., None]


def pencil(subject: Array, rng: Random) -> Array:
    """Graphite: restated outlines, and layers of fine strokes that turn a little as the shadow deepens.

    Source: the drawings by line integral convolution of Mao et al. 2001, section 4.
    """
    size = len(subject)
    unit = 2 * size / 256 * rng.uniform(0.85, 1.2)
    graphite, paper = jitter(parse(PENCILS_AND_PAPERS[rng.integers(len(PENCILS_AND_PAPERS))]), rng, 2, 2)
    tone = equalise(blur(luminance(subject), 0.35 * unit)) ** rng.uniform(0.6, 0.85)
    main, relief = rng.uniform(0.6, 1.1) * rng.choice([-1, 1]), tooth(2 * size, 0.75 * unit, rng)
    angles = double(hand(tone, main, rng.uniform(0.2, 1.2), 0.5 * unit, rng))
    tone, edge = double(tone), double(vignette(size, rng))
    shadow, marks = (1 - tone) * edge, np.zeros_like(tone)
    for turn, threshold in ((0.0, 0.08), (0.3, 0.34), (-0.5, 0.55)):
        pressure = smoothstep(shadow, threshold, threshold + 0.5)
        strokes = strands(angles + turn, 0.42 * unit, 14 * unit, rng)
        layer = pressure**0.7 * smoothstep(strokes + 0.5 * relief + 2.4 * pressure, 0.3, 3.6)
        marks = 1 - (1 - marks) * (1 - 0.66 * layer)
    smudge = 0.22 * blur(shadow, 1.2 * unit) * (1 + 0.3 * relief)
    lines = outlines(tone, 0.75 * unit, unit, rng, int(rng.integers(2, 4))) * smoothstep(relief, -2.6, -0.4)
    marks = 1 - (1 - marks) * (1 - np.clip(smudge, 0, 1)) * (1 - 0.9 * lines)
    drawing = blend(sheet(paper, relief, rng), np.broadcast_to(graphite, (*tone.shape, 3)), np.clip(marks, 0, 1))
    return halve(drawing)


def charcoal(subject: Array, rng: Random) -> Array:
    """Charcoal on toned paper, rubbed with the finger in the shadows, and white chalk in the lights."""
    size = len(subject)
    unit = 2 * size / 256 * rng.uniform(0.85, 1.2)
    coal, paper = jitter(parse(CHARCOALS_AND_PAPERS[rng.integers(len(CHARCOALS_AND_PAPERS))]), rng, 2, 3)
    tone = equalise(blur(luminance(subject), 0.6 * unit))
    relief, main = tooth(2 * size, unit, rng), rng.uniform(0.5, 1.2) * rng.choice([-1, 1])
    angles = double(hand(tone, main, rng.uniform(0.6, 2), 0.6 * unit, rng))
    tone, edge = double(tone), double(vignette(size, rng))
    shadow = smoothstep(1 - tone, 0.25, 1.0) * edge
    rubbed = 0.6 * blur(shadow, 1.6 * unit) * (1 + 0.14 * noise(2 * size, 7, rng, 3) + 0.1 * relief)
    strokes = 0.8 * strands(angles, 0.9 * unit, 18 * unit, rng) + 0.7 * relief
    broad = rub(0.8 * shadow, strokes) * (0.4 + 0.45 * shadow)
    dark = rub(1.1 * smoothstep(1 - tone, 0.7, 1.0) * edge, 0.8 * relief) * 0.85
    lines = outlines(tone, 1.2 * unit, unit, rng) * smoothstep(relief, -2.2, 0.6)
    marks = 1 - (1 - np.clip(rubbed, 0, 1)) * (1 - broad) * (1 - dark) * (1 - 0.95 * lines)
    lights = smoothstep(tone, rng.uniform(0.5, 0.62), 1.0) * edge
    streaks = 0.8 * strands(angles + 0.25, 0.8 * unit, 16 * unit, rng) + 0.7 * relief
    chalk = rub(0.9 * lights, streaks) * (0.35 + 0.6 * lights) + 0.25 * blur(lights, 1.2 * unit)
    drawing = blend(sheet(paper, relief, rng), np.full(3, 0.96), np.clip(chalk, 0, 1))
    return halve(blend(drawing, np.broadcast_to(coal, drawing.shape), 0.95 * np.clip(marks, 0, 1)))


def pastel(subject: Array, rng: Random) -> Array:
    """Soft colour on coloured paper, smudged below and in open strokes above that let the paper shine through."""
    size, palette = len(subject), sample_palette("pastel", rng)
    unit = 2 * size / 256 * rng.uniform(0.85, 1.2)
    reference = harmonise(subject, palette, rng, 0.35)
    relief, ground = tooth(2 * size, unit, rng), palette[rng.integers(1, 5)]
    paper = jitter(0.6 * ground[None] + 0.4 * reference.mean((0, 1)), rng, 3, 3)[0]
    main = rng.uniform(0.5, 1.2) * rng.choice([-1, 1])
    angles = double(hand(luminance(reference), main, rng.uniform(0.5, 2.0), unit, rng))
    colours_at = double(reference)
    smudged = rub(0.66 + 0.06 * noise(2 * size, 6, rng, 3), 0.7 * relief)
    picture = blend(sheet(paper, relief, rng), double(blur(reference, 0.5 * unit)), 0.9 * smudged)
    edges = double(smoothstep(blur(np.abs(reference - blur(reference, 1.5 * unit)).sum(-1), 0.8 * unit), 0.03, 0.2))
    layers = ((2.6, 26, 0.8 + 0 * edges, 0.6), (1.7, 20, 0.3 + 0.7 * edges, 0.7), (1.0, 12, edges, 0.85))
    for half_width, length, density, pressure in layers:
        points = seeds(density, 2.3 * half_width * unit, rng)
        colours = jitter(pick(colours_at, points), rng, 5, 7)
        widths = half_width * unit * rng.uniform(0.5, 1.1, (len(points), 1))
        tilted = angles + rng.normal(0, 0.2)
        strokes = lay(trace(tilted, points, length * unit * rng.uniform(0.7, 1.1)), widths, 2 * size, 6)
        force = rng.uniform(0.6, 1.15, len(points))[strokes.owner] * (1 - 0.5 * strokes.across**2)
        covered = rub(pressure * force, relief) * (strokes.owner >= 0)
        picture = blend(picture, colours[strokes.owner], 0.92 * covered)
    lines = outlines(double(luminance(reference)), 0.9 * unit, unit, rng, 1) * smoothstep(relief, -1.5, 0.5)
    return halve(blend(picture, np.broadcast_to(palette[0] * 0.8, picture.shape), 0.6 * lines))
