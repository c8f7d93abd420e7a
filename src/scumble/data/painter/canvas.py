"""What every manner paints with: noise, orientation fields, edge-preserving smoothing, light on relief."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import transform

Array: TypeAlias = NDArray[Any]
Random: TypeAlias = np.random.Generator


def grid(size: int) -> tuple[Array, Array]:
    """The coordinates (y, x) of every pixel, each (size, size), in [0, 1)."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    return y, x


def noise(size: int, cells: float, rng: Random, octaves: int = 1, stretch: tuple[float, float] = (1, 1)) -> Array:
    """Smooth noise of mean 0 and standard deviation 1 with about ``cells`` bumps across the picture.

    Each octave doubles the frequency and halves the amplitude; ``stretch`` multiplies the cells along (y, x).
    Shape: (size, size).
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        rows, columns = (max(2, round(cells * 2**octave * s)) + 3 for s in stretch)
        knots = rng.standard_normal((min(rows, size), min(columns, size))).astype(np.float32)
        total += ndimage.zoom(knots, (size / knots.shape[0], size / knots.shape[1]), order=3) / 2**octave
    return (total - total.mean()) / (total.std() + 1e-6)


def grain(size: int, sigma: float, rng: Random) -> Array:
    """Noise of mean 0 and standard deviation 1 with bumps of about ``sigma`` pixels: the tooth of paper, specks."""
    speckle = ndimage.gaussian_filter(rng.standard_normal((size, size)).astype(np.float32), sigma)
    return speckle / speckle.std()


def luminance(image: Array) -> Array:
    """Rec. 709 luma. Shape: image (H, W, 3); returns (H, W)."""
    return image[..., 0] * 0.2126 + image[..., 1] * 0.7152 + image[..., 2] * 0.0722


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur of a map (H, W) or, channel by channel, of an image (H, W, C)."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim], truncate=3)


def resize(image: Array, size: int) -> Array:
    """The image (H, W, C) stretched to (size, size, C), anti-aliased when it shrinks."""
    shrinks = min(image.shape[:2]) > size
    return transform.resize(image, (size, size), order=1, anti_aliasing=shrinks).astype(np.float32)


def halve(image: Array) -> Array:
    """The mean of every 2x2 block: takes a supersampled canvas (2H, 2W, ...) to (H, W, ...)."""
    return 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])


def double(image: Array) -> Array:
    """Every pixel four times: (H, W, ...) to (2H, 2W, ...)."""
    return image.repeat(2, 0).repeat(2, 1)


def smoothstep(value: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, a smooth ramp between (``low`` may be the larger one)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blend(first: Array, second: Array, weight: Array | float) -> Array:
    """``first`` where the weight is 0, ``second`` where it is 1; a weight (H, W) spreads over the channels."""
    if isinstance(weight, np.ndarray) and weight.ndim == 2:
        weight = weight[..., None]
    return first + (second - first) * weight


def tangents(image: Array, sigma: float) -> Array:
    """The direction along the edges as a double-angle number ``coherence * exp(2j * angle)`` per pixel.

    Opposite directions are one orientation and share one number, so fields can be added and blurred.
    Shape: image (H, W, 3); returns (H, W) complex; angles from the x axis towards y.
    Source: the smoothed structure tensor of Kyprianidis and Kang 2011, section 2.1.
    """
    tone = blur(luminance(image), 1.5)
    dy, dx = ndimage.sobel(tone, 0), ndimage.sobel(tone, 1)
    xx, xy, yy = (blur(product, sigma) for product in (dx * dx, dx * dy, dy * dy))
    return -((xx - yy) + 2j * xy) / (np.hypot(xx - yy, 2 * xy) + 0.02 * xx.max() + 1e-6)


def guided(image: Array, radius: int, epsilon: float) -> Array:
    """The image smoothed inside its edges, channel by channel.

    Source: the self-guided filter of He et al. 2010, section 3.
    """
    size = (2 * radius + 1, 2 * radius + 1, 1)
    mean = ndimage.uniform_filter(image, size)
    variance = ndimage.uniform_filter(image * image, size) - mean * mean
    slope = variance / (variance + epsilon)
    return ndimage.uniform_filter(slope, size) * image + ndimage.uniform_filter(mean * (1 - slope), size)


def sample(image: Array, y: Array, x: Array) -> Array:
    """The image (H, W, C) at points (y, x) given in pixels, mirrored at its borders."""
    channels = [ndimage.map_coordinates(c, (y, x), order=1, mode="mirror") for c in np.moveaxis(image, -1, 0)]
    return np.stack(channels, -1)


def warp(image: Array, dy: Array, dx: Array) -> Array:
    """The image (H, W, C) displaced by (dy, dx) pixels, each (H, W)."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return sample(image, y + dy, x + dx)


def light(relief: Array, angle: float, strength: float) -> Array:
    """How much brighter than flat paint each pixel of a relief is, lit from ``angle``. Shape: (H, W)."""
    dy, dx = np.gradient(relief)
    slope = strength * (np.cos(angle) * dx + np.sin(angle) * dy)
    return slope / np.sqrt(1 + slope * slope)


def weave(size: int, rng: Random, period: float = 3.0) -> Array:
    """The relief of a woven canvas, about [-1, 1]. Shape: (size, size)."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wobble = noise(size, 12, rng) * 0.6
    return np.sin((x + wobble) * 2 * np.pi / period) * np.sin((y + wobble) * 2 * np.pi / period)
