"""Manners that put a picture together from pieces: mosaic, stained glass and cubist facets."""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import segmentation

from scumble.data.painter.brush import pick, seeds
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
    sample,
    smoothstep,
    tangents,
)
from scumble.data.painter.palettes import harmonise, jitter, nearest_colour, sample_palette


def means(image: Array, labels: Array) -> Array:
    """The mean colour of every label 0 ... N-1. Shape: image (H, W, C), labels (H, W); returns (N, C)."""
    counts = np.bincount(labels.ravel())
    sums = [np.bincount(labels.ravel(), channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
    return np.stack(sums, -1) / np.maximum(counts, 1)[:, None]


def tesserae(angles: Array, spacing: float, rng: Random) -> tuple[Array, Array]:
    """Square tiles, turned along a field of angles: the tile of every pixel, and its distance to the tile's edge.

    Shape: angles (H, W); returns two (H, W); the distance is 0 on the edge, in pixels.
    Source: the rotated city-block Voronoi diagrams of Hausner 2001, section 3, with the maximum norm.
    """
    height, width = angles.shape
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x.ravel(), y.ravel()], -1).astype(np.float32)
    sites = seeds(np.ones_like(angles), spacing, rng)
    for last in (False, False, True):
        near = cKDTree(sites).query(pixels, 6)[1]
        offset = pixels[:, None] - sites[near]
        turn = pick(angles, sites)[near]
        u = np.abs(offset[..., 0] * np.cos(turn) + offset[..., 1] * np.sin(turn))
        v = np.abs(offset[..., 1] * np.cos(turn) - offset[..., 0] * np.sin(turn))
        distance = np.maximum(u, v)
        order = np.argsort(distance, axis=1)[:, :2]
        nearest = np.take_along_axis(near, order, 1)[:, 0]
        if not last:  # a step of Lloyd's: every site to the middle of its tile, those without one are dropped
            tile = np.unique(nearest, return_inverse=True)[1].reshape(height, width)
            sites = means(pixels.reshape(height, width, 2), tile)
    first, second = np.take_along_axis(distance, order, 1).T
    return nearest.reshape(height, width), ((second - first) / 2).reshape(height, width)


def mosaic(subject: Array, rng: Random) -> Array:
    """Tesserae in rows that follow the forms, each of one colour and a little tilted, in dark or pale grout."""
    size, palette = len(subject), sample_palette("mosaic", rng)
    unit = size / 256
    reference = harmonise(subject, palette, rng, 0.6)
    field = tangents(reference, 5 * unit) + 0.15 * np.exp(2j * (rng.uniform(0, 3) + 0.5 * noise(size, 2, rng)))
    tile, edge = tesserae(
        np.angle(blur(field.real, 3) + 1j * blur(field.imag, 3)) / 2, unit * rng.uniform(6.5, 10), rng
    )
    colours = means(reference, tile)
    colours += 0.6 * (palette[nearest_colour(colours, palette)] - colours) * (rng.random((len(colours), 1)) < 0.6)
    colours = jitter(colours, rng, 5, 4)
    tilt = rng.normal(0, 0.012 / unit, (len(colours), 2))
    y, x = np.mgrid[:size, :size]
    centre = means(np.stack([y, x], -1), tile)
    slope = (y - centre[tile, 0]) * tilt[tile, 0] + (x - centre[tile, 1]) * tilt[tile, 1]
    bevel = light(np.minimum(edge, 1.6 * unit), rng.uniform(0, 6.3), 0.35) * (edge > 0.5)
    glass = colours[tile] * (1 + slope + 0.5 * bevel + 0.04 * grain(size, 1.3 * unit, rng))[..., None]
    grout = rng.choice(np.array([[0.16, 0.14, 0.13], [0.82, 0.78, 0.7], [0.42, 0.37, 0.32]]))
    grout = grout * (1 + 0.08 * grain(size, unit, rng))[..., None]
    return blend(grout, glass, smoothstep(edge, 0.25 * unit, 1.1 * unit))


def borders(labels: Array) -> Array:
    """The distance of every pixel to the nearest border between labels, in pixels."""
    return ndimage.distance_transform_edt(~segmentation.find_boundaries(labels, mode="inner")).astype(np.float32)


def stained_glass(subject: Array, rng: Random) -> Array:
    """Panes of luminous coloured glass, cut along the subject's outlines and held by black lead."""
    size, palette = len(subject), sample_palette("stained_glass", rng)
    unit = size / 256
    reference = harmonise(subject, palette, rng, 0.5)
    panes = segmentation.slic(
        blur(reference, 1.2 * unit),
        int(rng.integers(60, 150)),
        compactness=rng.uniform(7, 18),
        max_num_iter=5,
        start_label=0,
    )
    wobble = [1.2 * unit * noise(size, 12, rng) for _ in range(2)]
    y, x = np.mgrid[:size, :size]
    moved = np.clip(np.rint([y + wobble[0], x + wobble[1]]), 0, size - 1).astype(np.int32)
    panes = segmentation.relabel_sequential(panes[moved[0], moved[1]] + 1)[0] - 1
    panes = double(np.rint(ndimage.median_filter(panes, round(4 * unit) + 1)).astype(np.int32))
    colours = means(double(reference), panes)
    colours += 0.8 * (palette[nearest_colour(colours, palette)] - colours)
    saturated = np.clip(colours + 0.5 * (colours - colours.mean(-1, keepdims=True)), 0.02, 1)
    colours = jitter(saturated, rng, 5, 7)
    v, u = grid(2 * size)
    glow = np.exp(-((v - rng.uniform(0.2, 0.7)) ** 2 + (u - rng.uniform(0.2, 0.8)) ** 2) / 0.25)
    streaks = 0.09 * noise(2 * size, 14, rng, 3, (1, 3)) + 0.05 * noise(2 * size, 40, rng)
    glass = colours[panes] * (0.78 + 0.42 * glow + streaks)[..., None]
    distance = borders(panes)
    half = 2 * unit * rng.uniform(1.2, 2.2)
    glass = glass * (0.55 + 0.45 * smoothstep(distance, half, half + 10 * unit))[..., None]
    lead = 0.06 + 0.16 * np.maximum(light(np.sqrt(np.maximum(half**2 - distance**2, 0)), 0.8, 0.6), 0)
    return halve(blend(np.repeat(lead[..., None], 3, -1), glass, smoothstep(distance, half - 0.7, half + 0.7)))


def facets(size: int, depth: int, rng: Random) -> tuple[Array, Array]:
    """A square cut ``depth`` times by lines: the facet of every pixel, and its distance to the last cut, in pixels.

    Every facet is cut in two near its middle, along the directions of the cubists: steep, level and diagonal.
    """
    y, x = np.mgrid[:size, :size].astype(np.float32)
    labels, distance = np.zeros((size, size), np.int64), np.zeros((size, size), np.float32)
    for level in range(depth):
        count = 2**level
        area = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
        reach = 0.18 * np.sqrt(area)
        centre_y = np.bincount(labels.ravel(), y.ravel(), count) / area + rng.uniform(-1, 1, count) * reach
        centre_x = np.bincount(labels.ravel(), x.ravel(), count) / area + rng.uniform(-1, 1, count) * reach
        turn = rng.choice([0.15, 0.5, 0.85, 1.15], count) * np.pi + (level % 2) * np.pi / 2 + rng.normal(0, 0.2, count)
        bow = np.where(rng.random(count) < 0.25, rng.normal(0, 0.006, count), 0)[labels]
        dy, dx = y - centre_y[labels], x - centre_x[labels]
        along = dx * np.cos(turn)[labels] + dy * np.sin(turn)[labels]
        distance = dy * np.cos(turn)[labels] - dx * np.sin(turn)[labels] + bow * along**2 * 256 / size
        small = area < (size / 22) ** 2
        labels = 2 * labels + ((distance > 0) & ~small[labels])
    return np.unique(labels, return_inverse=True)[1].reshape(size, size), np.abs(distance)


def cubism(subject: Array, rng: Random) -> Array:
    """Facets that each see the subject from a place of their own, shaded from one edge, after Braque and Picasso."""
    size, palette = len(subject), sample_palette("cubism", rng)
    unit = size / 256
    reference = harmonise(subject, palette, rng, 0.65)
    facet, shade = facets(2 * size, int(rng.integers(6, 8)), rng)
    count = facet.max() + 1
    y, x = np.mgrid[: 2 * size, : 2 * size].astype(np.float32) / 2
    centre = means(np.stack([y, x], -1), facet)
    turn, zoom = rng.normal(0, 0.3, count)[facet], rng.uniform(0.6, 1.0, count)[facet]
    shift = rng.normal(0, 9 * unit, (count, 2))[facet]
    v, u = y - centre[facet, 0], x - centre[facet, 1]
    seen_y = centre[facet, 0] + shift[..., 0] + zoom * (v * np.cos(turn) - u * np.sin(turn))
    seen_x = centre[facet, 1] + shift[..., 1] + zoom * (u * np.cos(turn) + v * np.sin(turn))
    seen = sample(blur(reference, 1.2 * unit), seen_y, seen_x)
    flat = palette[nearest_colour(means(seen, facet), palette)]
    painting = blend(seen, jitter(flat, rng, 4, 3)[facet], rng.uniform(0.15, 0.75, count)[facet])
    side = rng.choice([-1, 1], count, p=[0.7, 0.3])[facet]
    passage = side * (smoothstep(shade, 0, 2 * unit * rng.uniform(14, 26)) - 0.6)
    strokes = noise(2 * size, 45, rng, 2, (0.35, 1)) * 0.03 + noise(2 * size, 45, rng, 2, (1, 0.35)) * 0.03
    painting = painting * (1 + 0.42 * passage + strokes)[..., None]
    line = 1 - smoothstep(borders(facet), 0.3 * unit, 2 * unit * rng.uniform(0.7, 1.3))
    broken = line * (0.55 + 0.45 * smoothstep(noise(2 * size, 8, rng), -1, 0.5))
    return halve(blend(painting, np.broadcast_to(palette[0] * 0.6, painting.shape), 0.9 * broken))
