"""Manners of oil paint: swirls, impasto, dots and drips."""

import numpy as np
from scipy import ndimage

from scumble.data.painter.brush import Strokes, bristles, lay, pick, seeds, trace
from scumble.data.painter.canvas import (
    Array,
    Random,
    blend,
    blur,
    double,
    grain,
    grid,
    halve,
    light,
    noise,
    smoothstep,
    tangents,
    weave,
)
from scumble.data.painter.palettes import harmonise, jitter, sample_palette, to_lab


def vortices(size: int, rng: Random) -> Array:
    """A field of whirls in a waving stream, as a double-angle number per pixel. Shape: (size, size) complex."""
    y, x = grid(size)
    field = 0.4 * np.exp(2j * (0.6 * noise(size, 2.5, rng) + rng.uniform(-0.4, 0.4)))
    for _ in range(rng.integers(3, 8)):
        v, u = y - rng.uniform(0, 1), x - rng.uniform(0, 1)
        reach = rng.uniform(0.1, 0.3)
        around = np.arctan2(v, u) + np.pi / 2 + rng.uniform(-0.35, 0.35)
        field = field + 2.5 * np.exp(2j * around - (u * u + v * v) / (2 * reach**2))
    return field


def detail(image: Array, sigma: float) -> Array:
    """Where the image has edges that strokes of this size would lose, from 0 to 1. Shape: (H, W)."""
    loss = blur(np.abs(image - blur(image, sigma)).sum(-1), sigma / 2)
    return smoothstep(loss, 0.04, 0.2)


def apply(painting: Array, relief: Array, strokes: Strokes, colours: Array, rng: Random) -> tuple[Array, Array]:
    """The painting and its relief after a layer of strokes. Shape: (H, W, 3) and (H, W); colours (N, 3)."""
    painted = strokes.owner >= 0
    paint = bristles(strokes, rng)
    streaks = 1 + 0.07 * (paint - 1.3)
    painting = np.where(painted[..., None], colours[strokes.owner] * streaks[..., None], painting)
    return painting, np.where(painted, 0.35 * relief + paint, relief)


def shine(painting: Array, relief: Array, angle: float, strength: float) -> Array:
    """The painting with its relief lit from the side: shaded slopes, and gloss on those towards the light."""
    slope = light(relief, angle, strength)[..., None]
    return painting * (1 + 0.55 * slope) + 0.12 * np.maximum(slope, 0) ** 2


def discs(centres: Array, radii: Array, rng: Random) -> Array:
    """Straight paths that :func:`lay`, with bluntness 2, makes round. Shape: (N, 2) and (N, 1); returns (N, K, 2)."""
    step = np.linspace(-1, 1, max(5, int(np.ceil(2 * radii.max() / 0.6))), dtype=np.float32)
    turn = rng.uniform(0, np.pi, radii.shape)
    heading = np.stack([np.cos(turn), np.sin(turn)], -1)
    return (centres[:, None] + radii[:, :, None] * step[:, None] * heading).astype(np.float32)


def swirls(subject: Array, rng: Random) -> Array:
    """Long strokes that flow around the subject's forms and whirl where it has none, after Vincent van Gogh.

    Source: the layers of strokes, coarse to fine, of Hertzmann 1998, section 2.
    """
    size, palette = len(subject), sample_palette("swirls", rng)
    unit = size / 256 * rng.uniform(0.85, 1.3)
    reference = harmonise(subject, palette, rng, 0.55)
    along_edges = tangents(reference, 4 * unit)
    field = along_edges * np.abs(along_edges) * 1.5 + (1 - np.abs(along_edges)) * vortices(size, rng)
    angles = double(np.angle(field) / 2)
    painting, relief = (
        double(np.broadcast_to(palette[rng.integers(3)], reference.shape)),
        np.zeros((2 * size, 2 * size)),
    )
    edges = detail(reference, 4 * unit)
    layers = ((5.5, 60, 0 * edges + 1), (3.6, 44, 0 * edges + 0.75), (2.4, 26, edges))
    for half_width, length, density in layers:
        points = seeds(double(density), 2.6 * half_width * unit, rng)
        colours = jitter(pick(double(blur(reference, half_width * unit / 4)), points), rng, 7, 5)
        widths = half_width * unit * rng.uniform(0.6, 1.1, (len(points), 1))
        strokes = lay(trace(angles, points, length * unit), widths, 2 * size, 3)
        painting, relief = apply(painting, relief, strokes, colours, rng)
    return halve(shine(painting, blur(relief, 0.7), rng.uniform(0, 2 * np.pi), 0.9))


def impasto(subject: Array, rng: Random) -> Array:
    """Slabs of thick paint, put down with a loaded flat brush or a knife and lit from the side."""
    size, palette = len(subject), sample_palette("impasto", rng)
    unit = size / 256 * rng.uniform(0.8, 1.25)
    reference = harmonise(subject, palette, rng, 0.7)
    field = tangents(reference, 5 * unit) + 0.3 * np.exp(2j * (rng.uniform(0, np.pi) + 0.8 * noise(size, 3, rng)))
    angles = double(np.angle(field) / 2)
    painting, relief = double(reference), np.zeros((2 * size, 2 * size))
    edges = detail(reference, 6 * unit)
    layers = ((13, 44, 0 * edges + 1), (9, 34, 0.25 + 0.75 * edges), (5.5, 22, edges**2))
    for half_width, length, density in layers:
        points = seeds(double(density), 1.5 * half_width * unit, rng)
        colours = jitter(pick(double(blur(reference, half_width * unit / 4)), points), rng, 5, 6)
        tilt = rng.normal(0, 0.3, len(points))
        angle = pick(angles, points) + tilt
        span = np.linspace(-0.5, 0.5, round(length * unit / 0.7), dtype=np.float32) * length * unit
        bend = rng.normal(0, 0.08, len(points))[:, None] * span**2 / (length * unit)
        x = points[:, :1] + span * np.cos(angle)[:, None] - bend * np.sin(angle)[:, None]
        y = points[:, 1:] + span * np.sin(angle)[:, None] + bend * np.cos(angle)[:, None]
        widths = half_width * unit * rng.uniform(0.6, 1.1, (len(points), 1))
        strokes = lay(np.stack([x, y], -1).astype(np.float32), widths, 2 * size, 12)
        painting, relief = apply(painting, relief, strokes, colours, rng)
    relief = blur(relief, 0.8) + 0.06 * grain(2 * size, 2 * unit, rng)
    return halve(shine(painting, relief, rng.uniform(0, 2 * np.pi), 2.6))


def pointillism(subject: Array, rng: Random) -> Array:
    """Dots of unmixed colours that add up to the subject's at a distance, after Georges Seurat.

    Source: the optical mixture of colours, dithered with the error of the palette's nearest colours.
    """
    size, palette = len(subject), sample_palette("pointillism", rng)
    radius = size / 256 * rng.uniform(3.2, 5.4)
    reference = harmonise(subject, palette, rng, 0.2)
    ground = np.array([0.93, 0.89, 0.8]) * rng.uniform(0.9, 1.0)
    painting = double(blend(np.broadcast_to(ground, reference.shape), blur(reference, 6), 0.35))
    painting *= 1 + 0.03 * weave(2 * size, rng, 6)[..., None]
    pure = to_lab(palette)
    pure[:, 1:] *= 1.25
    for scale in (1.15, 1.0, 0.8):
        points = seeds(np.ones((2 * size, 2 * size)), 1.75 * radius * scale, rng)
        wanted = to_lab(pick(double(reference), points)) + rng.normal(0, (11, 15, 15), (len(points), 3))
        chosen = ((wanted[:, None] - pure) ** 2).sum(-1).argmin(1)
        colours = jitter(palette[chosen], rng, 3, 5)
        squash = radius * scale * rng.uniform(0.75, 1.0, (len(points), 1))
        reach = np.full_like(squash, radius * scale)
        strokes = lay(discs(points, reach, rng), squash, 2 * size, 2)
        dome = 0.06 * (1 - strokes.across**2)
        painting = np.where(strokes.owner[..., None] >= 0, colours[strokes.owner] * (0.97 + dome)[..., None], painting)
    return halve(painting)


def drip(subject: Array, rng: Random) -> Array:
    """Skeins of poured enamel and splashes over a loose ground of the subject, after Jackson Pollock."""
    size, palette = len(subject), sample_palette("drip", rng)
    unit = size / 256
    reference = harmonise(subject, palette, rng, 0.6)
    canvas = np.broadcast_to(palette[rng.choice([-1, -2])], reference.shape)
    ground = blend(canvas, blur(reference, 2.5 * unit), 0.75 * smoothstep(noise(size, 9, rng, 4), -1.5, 0.3))
    painting = double(ground * (1 + 0.05 * weave(size, rng)[..., None]))
    relief = np.zeros((2 * size, 2 * size))
    for shade in rng.permutation(len(palette)).repeat(2):
        count, steps = int(rng.integers(5, 10)), round(rng.uniform(300, 700) * unit / 0.7)
        bends = ndimage.gaussian_filter1d(rng.standard_normal((count, steps)), 14 * unit, axis=1)
        turn = np.cumsum(bends / bends.std() * rng.uniform(0.01, 0.035) / unit, 1) + rng.uniform(0, 6.3, (count, 1))
        walk = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], -1), 1) * 0.7
        paths = (walk - walk.mean(1, keepdims=True) + rng.uniform(0, 2 * size, (count, 1, 2))).astype(np.float32)
        pour = ndimage.gaussian_filter1d(rng.standard_normal((count, steps)), 9 * unit, axis=1)
        widths = unit * rng.uniform(0.8, 2.4) * np.clip(1 + 0.7 * pour / pour.std(), 0.45, 4)
        reach = np.minimum(rng.exponential(2.2 * unit, (int(rng.integers(18, 90)), 1)) + 0.8, 11 * unit)
        spots = discs(rng.uniform(0, 2 * size, (len(reach), 2)), reach, rng)
        for path, width, bluntness in ((paths, widths, 40.0), (spots, reach, 2.0)):
            strokes = lay(path, width, 2 * size, bluntness)
            painted = strokes.owner >= 0
            painting = np.where(painted[..., None], palette[shade], painting)
            relief = np.where(painted, 0.4 * relief + 1.5 - strokes.across**2, relief)
    return halve(shine(painting, blur(relief, 0.8), rng.uniform(0, 2 * np.pi), 0.8))
