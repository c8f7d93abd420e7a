"""Manners of line and wash on paper: ink hatching, pen contours and watercolour."""

import numpy as np

from scumble.data.painter.brush import along
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
    warp,
)
from scumble.data.painter.palettes import INKS_AND_PAPERS, harmonise, jitter, parse, sample_palette


def equalise(tone: Array) -> Array:
    """The rank of every pixel's tone, from 0 to 1, halfway between its own tone and a flat histogram."""
    ranks = np.searchsorted(np.sort(tone, axis=None), tone) / tone.size
    return 0.5 * (tone - tone.min()) / (np.ptp(tone) + 1e-6) + 0.5 * ranks


def contours(tone: Array, sigma: float) -> Array:
    """Ink where the tone has an edge or a dark line, from 0 to 1.

    Source: the extended difference of Gaussians of Winnemoeller et al. 2012, section 2.
    """
    difference = blur(tone, sigma) - 0.98 * blur(tone, 1.6 * sigma)
    return 1 - smoothstep(difference, -0.02, 0.004)


def hatch_lines(size: int, angle: float, bend: Array, spacing: float, darkness: Array, rng: Random) -> Array:
    """Parallel pen lines, about ``spacing`` pixels apart, thicker where it is darker. Returns ink, 0 to 1."""
    y, x = grid(size)
    across = size * (x * -np.sin(angle) + y * np.cos(angle)) + bend
    along = size * (x * np.cos(angle) + y * np.sin(angle))
    phase = across / spacing
    line = np.floor(phase).astype(np.int64)
    # Every line is cut into pen strokes at places of its own, and each pressed on with a force of its own.
    length = spacing * rng.uniform(7, 14)
    offset = rng.random(4096)[line % 4096]
    stroke = np.floor(along / length + offset).astype(np.int64)
    force = rng.uniform(0.75, 1.15, 9973)[(line * 131 + stroke * 7919) % 9973]
    progress = (along / length + offset) % 1
    taper = np.clip(np.minimum(progress, 1 - progress) * 8, 0, 1) * 0.25 + 0.75
    thickness = np.clip(darkness, 0, 1) * force * taper * 0.36 * spacing
    distance = np.abs(phase % 1 - 0.5) * spacing
    return smoothstep(thickness - distance, -0.7, 0.7) * (thickness > 0.25)


def hatching(subject: Array, rng: Random) -> Array:
    """Pen and ink: contours, and up to four layers of hatching crossed over one another as the shadow deepens.

    Some drawings are engravings whose lines follow the forms, some stand on toned paper with white heightening.
    Source: the tonal art maps of Praun et al. 2001, section 3.
    """
    size = len(subject)
    unit = size / 256 * rng.uniform(0.85, 1.3)
    choice = rng.integers(len(INKS_AND_PAPERS))
    ink, paper = jitter(parse(INKS_AND_PAPERS[choice]), rng, 2, 3)
    tone = equalise(blur(luminance(subject), 0.8 * unit))
    tone = np.clip(1.15 * tone + 0.02, 0, 1) ** rng.uniform(0.55, 0.85)
    follow = rng.uniform(2, 14) if rng.random() < 0.5 else 0.8
    bend = double(follow * unit * (3 * blur(tone, 5 * unit) + 0.6 * noise(size, 3, rng)))
    shadow, marks = double(1 - tone), np.zeros((2 * size, 2 * size))
    first, spacing = rng.uniform(0.4, 1.2), 2 * unit * rng.uniform(2.6, 4.2)
    for turn, threshold in ((0, 0.28), (np.pi / 2.6, 0.5), (-np.pi / 4, 0.68), (np.pi / 7, 0.82)):
        darkness = smoothstep(shadow, threshold - 0.06, threshold + 0.35) * 0.9 + 0.25 * (shadow > threshold)
        lines = hatch_lines(2 * size, first + turn, bend + 1.2 * noise(2 * size, 20, rng), spacing, darkness, rng)
        marks = np.maximum(marks, lines * rng.uniform(0.85, 1))
    outline = contours(double(tone), 2.0 * unit) * (0.75 + 0.25 * grain(2 * size, 4 * unit, rng))
    marks = np.clip(np.maximum(marks, outline), 0, 1)
    sheet = paper * (1 + 0.02 * grain(2 * size, 1.5, rng) + 0.025 * noise(2 * size, 4, rng, 3))[..., None]
    if choice < 3:
        chalk = hatch_lines(2 * size, first + 0.2, bend, 0.8 * spacing, smoothstep(1 - shadow, 0.72, 1.0), rng)
        sheet = blend(sheet, np.full(3, 0.97), 0.85 * chalk)
    return halve(blend(sheet, np.broadcast_to(ink, sheet.shape), 0.93 * marks))


def flowing_contours(tone: Array, angles: Array, sigma: float, swell: Array | float) -> Array:
    """Contours as long clean lines: the difference of Gaussians, blurred along the edges before it becomes ink.

    A larger ``swell`` makes the lines broader, and more of them. Shape: tone and angles (H, W); returns ink, 0 to 1.
    Source: the flow-based difference of Gaussians of Kang et al. 2007, section 3.
    """
    difference = along(blur(tone, sigma) - blur(tone, 1.6 * sigma), angles, round(5 * sigma))
    level = -0.007 * np.exp(-swell)
    dy, dx = np.gradient(blur(tone, sigma))
    edge = blur(sigma * np.hypot(dy, dx), 1.5 * sigma)  # on a slow ramp the line would be a smear
    return (1 - smoothstep(difference - level, -0.003, 0.003)) * smoothstep(edge, 0.018, 0.03)


def ink(subject: Array, rng: Random) -> Array:
    """Pen contours that swell and break off, on bare paper, with a few solid blacks and open strokes in the shadow."""
    size = len(subject)
    unit = 2 * size / 256 * rng.uniform(0.85, 1.25)
    pen, paper = jitter(parse(INKS_AND_PAPERS[rng.integers(len(INKS_AND_PAPERS))]), rng, 2, 3)
    wobble = [0.5 * unit * noise(size, 18, rng, 2) for _ in range(2)]
    drawn = guided(warp(subject, *wobble), round(unit), 0.002)
    angles = double(np.angle(tangents(drawn, 1.5 * unit)) / 2)
    tone = double(luminance(drawn))
    tone = (tone - tone.min()) / (np.ptp(tone) + 1e-6)
    swell = np.clip(0.5 * noise(2 * size, 6, rng, 2) + 1.2 * (0.5 - blur(tone, 4 * unit)), -1.5, 1)
    fine = flowing_contours(tone, angles, 0.45 * unit, swell + 0.4)
    bold = flowing_contours(tone, angles, 0.9 * unit, swell - 0.6)
    marks = np.maximum(fine, bold)
    shadow, bend = 1 - equalise(blur(tone, 1.2 * unit)), unit * (2 * noise(2 * size, 4, rng) + 3 * blur(tone, 6 * unit))
    darkness = smoothstep(shadow, rng.uniform(0.55, 0.7), 1.0)
    strokes = hatch_lines(2 * size, rng.uniform(0.5, 1.1), bend, rng.uniform(3, 4.2) * unit, 0.7 * darkness, rng)
    if rng.random() < 0.85:
        marks = np.maximum(marks, strokes)
    if rng.random() < 0.6:
        edge = np.quantile(tone, rng.uniform(0.06, 0.16)) + 0.02 * noise(2 * size, 12, rng, 2)
        marks = np.maximum(marks, smoothstep(blur(tone, 0.8 * unit) - edge, 0.003, -0.003))
    flow = 0.92 + 0.05 * noise(2 * size, 10, rng, 3)  # ink lies thicker in some places
    page = paper * (1 + 0.015 * grain(2 * size, 1.2, rng) + 0.02 * noise(2 * size, 4, rng, 3))[..., None]
    return halve(blend(page, np.broadcast_to(pen, page.shape), np.clip(marks * flow, 0, 1)))


def sheet_mask(size: int, rng: Random) -> Array:
    """1 where paint covers the paper, 0 on a ragged margin that some pictures leave. Shape: (size, size)."""
    if rng.random() < 0.5:
        return np.ones((size, size), np.float32)
    y, x = grid(size)
    border = np.minimum(np.minimum(y, 1 - y), np.minimum(x, 1 - x)) + 0.022 * noise(size, 7, rng, 4)
    return smoothstep(border, 0.045, 0.055)


def wash(mask: Array, unit: float) -> Array:
    """How much pigment a wet area leaves when it dries: even inside, and more along its edge.

    Source: the edge darkening of Bousseau et al. 2006, section 3.
    """
    rim = np.maximum(mask - blur(mask, 2.2 * unit), 0) + 0.5 * np.maximum(mask - blur(mask, 6 * unit), 0)
    return mask * 0.82 + 1.1 * rim * mask


def watercolour(subject: Array, rng: Random) -> Array:
    """Transparent washes on rough white paper: dark edges, blooms, granulation, and paper left bare."""
    size, palette = len(subject), sample_palette("watercolour", rng)
    unit = size / 256
    reference = harmonise(subject, palette, rng, 0.35)
    wobble = [2.0 * unit * noise(size, 14, rng, 3) for _ in range(2)]
    reference = guided(guided(warp(reference, *wobble), round(4 * unit) + 1, 0.01), round(6 * unit) + 1, 0.006)
    darkness = 1 - luminance(reference)
    levels = np.quantile(darkness, np.sort(rng.uniform(0.04, 0.92, rng.integers(5, 8))))
    ragged = darkness + 0.02 * noise(size, 10, rng, 4)
    glazes = [wash(smoothstep(ragged, level - 0.012, level + 0.012), unit) for level in levels]
    share = np.diff(np.concatenate([levels, [darkness.max()]])) + 0.04
    amount = 0.3 + sum(weight * glaze for weight, glaze in zip(share, glazes, strict=True)) / share.sum() * 1.25
    bloom = noise(size, 5, rng, 3)
    fringe = np.exp(-((bloom - 1.3) ** 2) / 0.006) - 0.6 * smoothstep(bloom, 1.3, 1.6)
    tooth = grain(size, 1.1 * unit, rng)
    pigment = amount * (1 + 0.16 * noise(size, 6, rng, 4) + 0.22 * fringe) * (1 + 0.09 * tooth)
    mask = wash(sheet_mask(size, rng), unit)
    skipped = smoothstep(tooth - 3.2 * darkness, 1.0, 1.5)  # a nearly dry brush leaves the hollows white
    spread = blur(reference, 2.5 * unit)
    absorbance = -np.log(np.clip(spread, 0.03, 0.995)) / (0.35 + blur(darkness, 8 * unit)[..., None]) * 0.75
    paper = np.array([0.985, 0.975, 0.95]) * (1 + 0.012 * tooth)[..., None]
    coverage = np.clip(pigment * mask * (1 - 0.8 * skipped), 0, None)
    return paper * np.exp(-absorbance * coverage[..., None])
