"""Subjects made from noise: landscapes, seas, villages, still lifes, flowers and plain abstractions."""

from collections.abc import Callable

import numpy as np

from scumble.data.painter.canvas import Array, Random, blend, grid, noise, smoothstep


def colour(rng: Random, red: float, green: float, blue: float, spread: float = 0.08) -> Array:
    """A colour near the given one. Shape: (3,)."""
    return np.clip(rng.normal((red, green, blue), spread), 0, 1).astype(np.float32)


def cover(picture: Array, inside: Array, paint: Array) -> Array:
    """The picture with ``paint`` (a colour or a picture) where the signed distance ``inside`` is positive."""
    return blend(picture, np.broadcast_to(paint, picture.shape), np.clip(inside * len(picture) + 0.5, 0, 1))


def shade(size: int, rng: Random, paint: Array, amount: float = 0.12, cells: float = 8) -> Array:
    """One colour with the unevenness of a real surface. Shape: (size, size, 3)."""
    return np.clip(paint * (1 + amount * noise(size, cells, rng, octaves=3))[..., None], 0, 1)


def sky(size: int, rng: Random) -> Array:
    """A gradient, clouds, and a sun or a moon with its halo."""
    y, x = grid(size)
    top, low = colour(rng, 0.2, 0.4, 0.75, 0.15), colour(rng, 0.85, 0.8, 0.7, 0.12)
    picture = blend(np.broadcast_to(top, (size, size, 3)), np.broadcast_to(low, (size, size, 3)), smoothstep(y, 0, 0.6))
    clouds = smoothstep(noise(size, rng.uniform(2, 4), rng, 4, (1.8, 1)), rng.uniform(0, 0.8), 1.8)
    picture = blend(picture, np.ones_like(picture), 0.8 * clouds)
    radius, distance = rng.uniform(0.03, 0.1), np.hypot(y - rng.uniform(0.1, 0.35), x - rng.uniform(0.1, 0.9))
    sun = colour(rng, 1.0, 0.85, 0.4)
    return cover(
        blend(picture, np.broadcast_to(sun, picture.shape), 0.7 * np.exp(-distance / (2 * radius))),
        radius - distance,
        sun,
    )


def mountain(picture: Array, rng: Random, foot: float) -> Array:
    """A volcano with a snow cap that stands on the height ``foot``."""
    size = len(picture)
    y, x = grid(size)
    centre, peak = rng.uniform(0.25, 0.75), foot - rng.uniform(0.2, 0.4)
    slope = peak + (foot - peak) * np.sqrt(np.maximum(np.abs(x - centre) - 0.03, 0) / rng.uniform(0.3, 0.5))
    picture = cover(picture, np.minimum(y - slope, foot - y), shade(size, rng, colour(rng, 0.35, 0.4, 0.55)))
    snow = peak + 0.1 + 0.02 * noise(size, 14, rng, stretch=(0.1, 1))
    return cover(picture, np.minimum(y - slope, snow - y), colour(rng, 0.97, 0.97, 0.98, 0.02))


def hills(picture: Array, rng: Random, horizon: float) -> Array:
    """Three to five ridges that grow warmer and darker towards the viewer, the nearest one ploughed."""
    size = len(picture)
    y, x = grid(size)
    count = int(rng.integers(3, 6))
    for near in np.linspace(0, 1, count):
        ridge = horizon + near * (0.85 - horizon) + 0.035 * noise(size, rng.uniform(2, 6), rng, 3)[size // 2]
        far, close = colour(rng, 0.45, 0.58, 0.65), colour(rng, 0.5, 0.5, 0.15, 0.12)
        field = shade(size, rng, far + near * (close - far), 0.15)
        furrows = np.sin((x - 0.5) / (y - horizon + 0.15) * rng.uniform(15, 40))
        picture = cover(picture, y - ridge, np.clip(field * (1 + 0.2 * near * furrows[..., None]), 0, 1))
    return picture


def trees(picture: Array, rng: Random) -> Array:
    """Cypresses, and round crowns on trunks."""
    size = len(picture)
    y, x = grid(size)
    for _ in range(rng.integers(1, 6)):
        centre, foot, height = rng.uniform(0, 1), rng.uniform(0.7, 1.0), rng.uniform(0.2, 0.6)
        t = np.clip((foot - y) / height, 0, 1)
        ragged = 1 + 0.25 * noise(size, 18, rng)
        if rng.random() < 0.6:
            half = 0.3 * height * np.sqrt(t) * (1 - t) * ragged
        else:
            half = np.maximum(0.02 * height, 0.55 * height * np.sqrt(np.maximum(0.1 - (t - 0.68) ** 2, 0)) * ragged)
        inside = np.minimum(half - np.abs(x - centre), np.minimum(foot - y, y - foot + height))
        picture = cover(picture, inside, shade(size, rng, colour(rng, 0.12, 0.3, 0.15), 0.4, 20))
    return picture


def landscape(size: int, rng: Random) -> Array:
    """Hills under a sky, with trees, often below a volcano."""
    horizon = rng.uniform(0.35, 0.6)
    picture = sky(size, rng)
    if rng.random() < 0.4:
        picture = mountain(picture, rng, horizon + 0.12)
    return trees(hills(picture, rng, horizon), rng)


def seascape(size: int, rng: Random) -> Array:
    """Water under a sky, with sails."""
    y, x = grid(size)
    horizon = rng.uniform(0.35, 0.6)
    picture = sky(size, rng)
    if rng.random() < 0.5:
        picture = mountain(picture, rng, horizon + 0.02)
    swell = noise(size, 4, rng, 4, (6, 1)) * smoothstep(y, horizon - 0.1, 1)
    water = blend(shade(size, rng, colour(rng, 0.12, 0.4, 0.55)), picture[::-1], 0.25) + 0.12 * swell[..., None]
    picture = cover(picture, y - horizon, np.clip(water, 0, 1))
    for _ in range(rng.integers(1, 5)):
        foot, centre, height = rng.uniform(horizon, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.35)
        up, side = (foot - y) / height, (x - centre) / height
        sail = np.minimum(np.minimum(up - 0.12, side + 0.02), 1 - up - 1.8 * side) * 0.4 * height
        picture = cover(picture, sail, colour(rng, 0.9, 0.75, 0.6, 0.15))
        picture = cover(
            picture,
            (0.08 - np.hypot(up * 1.6, np.maximum(np.abs(side) - 0.3, 0))) * height,
            colour(rng, 0.3, 0.15, 0.1),
        )
    return picture


def village(size: int, rng: Random) -> Array:
    """Houses with roofs and windows in front of hills."""
    y, x = grid(size)
    picture = hills(sky(size, rng), rng, rng.uniform(0.35, 0.5))
    for foot in np.sort(rng.uniform(0.5, 0.98, rng.integers(5, 12))):
        width = rng.uniform(0.08, 0.14) * (0.5 + foot)
        height, left = width * rng.uniform(0.7, 1.8), rng.uniform(-0.05, 0.95)
        across = (x - left) / width
        wall = np.minimum(np.minimum(x - left, left + width - x), np.minimum(foot - y, y - foot + height))
        picture = cover(picture, wall, shade(size, rng, colour(rng, 0.88, 0.78, 0.62, 0.12)))
        window = 0.16 - np.maximum(np.abs(across % 0.5 - 0.25) * 1.4, np.abs((foot - y) / width % 0.5 - 0.3))
        picture = cover(picture, np.minimum(wall - 0.08 * width, window * width), colour(rng, 0.2, 0.2, 0.3))
        roof = np.minimum(foot - height - y + 0.003, y - foot + height + width * (0.6 - np.abs(across - 0.5)))
        picture = cover(picture, roof, shade(size, rng, colour(rng, 0.7, 0.28, 0.18, 0.12)))
    return trees(picture, rng) if rng.random() < 0.5 else picture


def ball(picture: Array, rng: Random, centre_y: float, centre_x: float, radius: float, paint: Array) -> Array:
    """A lit fruit with its shadow."""
    y, x = grid(len(picture))
    v, u = (y - centre_y) / radius, (x - centre_x) / radius
    picture = cover(picture, (1 - np.hypot((v - 0.85) * 3, u - 0.5)) * radius * 0.5, picture * 0.45)
    lit = np.clip(0.75 - 0.45 * (u + v) - 0.25 * (u * u + v * v), 0.15, 1.3)[..., None]
    glint = np.exp(-((u + 0.35) ** 2 + (v + 0.4) ** 2) / 0.02)[..., None]
    return cover(picture, (1 - np.hypot(v, u)) * radius, np.clip(paint * lit + 0.6 * glint, 0, 1))


def still_life(size: int, rng: Random) -> Array:
    """Fruit and a vase on a table."""
    y, x = grid(size)
    edge = rng.uniform(0.5, 0.65)
    picture = shade(size, rng, colour(rng, 0.35, 0.42, 0.5, 0.15), 0.2, 3)
    picture = cover(picture, y - edge, shade(size, rng, colour(rng, 0.65, 0.5, 0.35, 0.12), 0.15, 6))
    centre, top = rng.uniform(0.25, 0.75), rng.uniform(0.1, 0.3)
    t = np.clip((y - top) / (0.78 - top), 0, 1)
    half = rng.uniform(0.12, 0.18) * (0.35 + np.sin(np.pi * t ** rng.uniform(1, 2)) ** 2 * 0.8)
    vase = np.minimum(half - np.abs(x - centre), np.minimum(y - top, 0.78 - y))
    lit = np.clip(0.8 - 0.6 * (x - centre) / (half + 1e-3), 0.2, 1.3)[..., None]
    picture = cover(picture, vase, np.clip(shade(size, rng, colour(rng, 0.35, 0.5, 0.6, 0.2)) * lit, 0, 1))
    for _ in range(rng.integers(3, 8)):
        paint = colour(rng, *((0.9, 0.25, 0.15), (0.95, 0.65, 0.15), (0.5, 0.65, 0.2))[rng.integers(3)])
        picture = ball(picture, rng, rng.uniform(0.68, 0.88), rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.13), paint)
    return picture


def flowers(size: int, rng: Random) -> Array:
    """Blossoms of many petals before foliage."""
    y, x = grid(size)
    picture = shade(size, rng, colour(rng, 0.15, 0.32, 0.25, 0.1), 0.45, 6)
    for _ in range(rng.integers(6, 14)):
        radius, petals = rng.uniform(0.07, 0.2), rng.integers(5, 14)
        v, u = y - rng.uniform(0.05, 0.95), x - rng.uniform(0.05, 0.95)
        angle, distance = np.arctan2(v, u), np.hypot(v, u)
        rim = radius * (0.8 + 0.2 * np.cos(petals * angle + rng.uniform(0, 6)))
        paint = colour(rng, *((0.95, 0.4, 0.45), (0.98, 0.8, 0.3), (0.9, 0.85, 0.9), (0.55, 0.4, 0.8))[rng.integers(4)])
        veins = 0.75 + 0.25 * np.cos(petals * angle) + 0.3 * (distance / radius - 0.5)
        picture = cover(picture, rim - distance, np.clip(paint * veins[..., None], 0, 1))
        picture = cover(picture, 0.25 * radius - distance, colour(rng, 0.4, 0.22, 0.1))
    return picture


def abstraction(size: int, rng: Random) -> Array:
    """Bands of warped noise."""
    fold = noise(size, rng.uniform(1.5, 3), rng, 2)
    y, x = grid(size)
    channels = [
        np.sin(fold * rng.uniform(1, 2.5) + noise(size, 3, rng, 2) + rng.uniform(2, 8) * (x if i else y))
        for i in range(3)
    ]
    mean = sum(channels) / 3
    return np.stack([0.5 + 0.25 * channel + 0.2 * mean for channel in channels], -1).astype(np.float32)


COMPOSITIONS: tuple[Callable[[int, Random], Array], ...] = (
    landscape,
    seascape,
    village,
    still_life,
    flowers,
    abstraction,
)


def compose(size: int, rng: Random) -> Array:
    """A subject out of noise alone. Shape: (size, size, 3), range [0, 1]."""
    return np.clip(COMPOSITIONS[rng.integers(len(COMPOSITIONS))](size, rng), 0, 1).astype(np.float32)
