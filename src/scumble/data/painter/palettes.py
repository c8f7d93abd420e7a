"""Colours: the palettes of each manner, and how a subject takes on a palette."""

import numpy as np
from skimage import color

from scumble.data.painter.canvas import Array, Random

# Hexadecimal colours from dark to light, a few named moods per manner.
PALETTES: dict[str, tuple[str, ...]] = {
    "swirls": (
        "0b1a4a 1d3f94 2f6fc4 6fb3d9 b9dbe0 f4d35e f2a516",  # starry night
        "27402b 3e7a52 6fa06a 3f8fb0 a8d5d8 e8b923 f7e08a",  # wheat field with cypresses
        "5b2a12 a8501c d98a1f f2b632 f8dd7a 7f9a48 2f5d6b",  # sunflowers
        "2b2650 5a4a8f 4d8a72 83b37c b8cf8e dfe3c0 c98aa0",  # olive trees and irises
        "3a0f14 8c1f1f c9472b e98a3a f3cf6a 4a5fa5 1f2a5c",  # red vineyard
    ),
    "pointillism": (
        "1f3b73 3b6db5 4f9e5b a7c957 f2d04b f29c50 f6eed0",  # a summer afternoon
        "43256b 7a4fa3 c65b8f f28a6a f7c25e fbe9b0 4a8fc0",  # evening harbour
        "14524a 2a8c82 69c3b0 e8e4b8 f4b26a d9573f 34406b",  # the river
        "263a78 4d79c7 8fb8e8 f1c6d6 f7e7a6 e0793c 2f7a58",  # pine by the sea
    ),
    "watercolour": (
        "31456b 5f8fb8 a9cfe0 8fae6b d8b36a e9d9b8 f7f3e8",  # northern lake
        "5a3a5f b0698a e29a94 f3c9a5 9fb7d0 6f8fae faf3ea",  # dusk rose
        "2f5b4c 6b9f6a b8cf7f efd86f e79a5b 7fb8c4 fbf8ea",  # garden
        "4a3428 8d6140 c49a6c 9aa58a 7390a0 d9cdb5 f8f4ea",  # sepia street
        "1f4f78 2e8fb0 74c7cf c2e7dc f4c7a0 ef8a70 fdf9f0",  # lagoon
    ),
    "mosaic": (
        "14213d 1f4e8c 2f86a6 7a1f1f b5452f d9a227 f3e2a9",  # Ravenna
        "3a2c22 6f4a32 a56a43 c99d6b e3cfa6 7d8471 f2eadb",  # Roman floor
        "0f4c5c 1a9ba1 5fc9b5 f2c14e f78154 d7263d fff3e0",  # Park Guell
        "1b1f3b 3e3f8f 7a5fc0 2f9e7a 9bd07a f0e6c0 d98c3a",  # peacock
    ),
    "ukiyo_e": (
        "10243f 1f4a7a 3f79a8 8fb5c9 d9cfae efe4c8 c8643c",  # Prussian blue
        "1c2b3a 34596b 6f9a9a b9c9b0 e6d6a8 f0e6cd b5432f",  # rainy Edo
        "2a1f3d 4f3f72 8a6f9f d79a8c f0c79a f5e9cf 2f5a70",  # twilight
        "14302b 2f5f4f 6f9a72 b8c58f ecdfae f4ecd2 d9572f",  # pine green
    ),
    "cubism": (
        "1e1a17 4a3b2c 7a6244 a38a63 c9b48a 6f7672 e3d8bd",  # analytic browns
        "22262b 46525c 74828a a9b1ad d9d4c4 8a6a4a c9a26a",  # grey studio
        "1d2340 2f5aa0 d1402f f0a830 f3e3c0 3f8f5f 7a2f5f",  # orphic brights
        "3a1f1a 8f3f2a c97a4a e6b98a f2dcc0 5f7a8a 2a3f55",  # rose period
        "0f2a2a 2f5f55 6f9a7a c9c98a f0e6c0 b5703a 5a2a1a",  # green still life
    ),
    "impasto": (
        "1a1a2e 3a3f6f c0392b e67e22 f4d03f f9f0d8 2e8b7a",  # carnival
        "10302a 1f6f54 6fae4a d4d957 f7f0c0 e86a8a 7a2a5a",  # water lilies
        "2b0f14 7a1a2a d13f3f f28a5a f9d9a8 3f6fae 142a5a",  # poppies
        "0f1f3a 1f5f9a 4fb0d9 bfe6ee ffffff f2b84a c9502f",  # regatta
        "2a2018 6f4f2a b58a3f e6c97a f9f0d0 7a9a8a 3a5560",  # ochre quarry
    ),
    "stained_glass": (
        "0f1f6b 1f4fc0 3f9fe0 b01030 e8a010 1f8a4a f4e8a0",  # Chartres
        "3a0f5a 7a2fae c04fae f06a5a f8c040 2fa0a0 f8f0c0",  # rose window
        "0a3a4a 1f7a7a 4fc08a c0e05a f8e060 e0602f 6a1f3a",  # art nouveau
    ),
    "drip": (
        "14110f 3a3a3c 7a6a58 c9bfa8 f2ecdc 8a2f1f",  # autumn
        "101418 1f3f6a 3f8fae e8e0c8 f2c230 d9402f",  # blue poles
        "1a1a1a f7f3e6 e0a81f 2f6f4f c0502f 6a8fae",  # full fathom
        "2a1030 6a2f6a d95f8a f2b090 f7e8d0 3f7f8f",  # lavender mist
    ),
    "screen_print": (
        "141414 d7263d f46036 f5d547 f7f3e3",  # poster red
        "1b1b3a 2e86ab f26ca7 f9c846 fdf6e3",  # pop
        "0b3954 087e8b ff5a5f f2b880 fdf3dc",  # travel poster
        "22223b 6d597a e56b6f eaac8b f6e7cb",  # dusk
        "10231c 1b7f5c 8cc084 f5b841 fbf7e4",  # garden
        "2b0f3a 7b2d8b e83f6f 2ec4b6 ffe66d",  # neon
    ),
    "pastel": (
        "2a2b4f 5b6fa8 9a8fc0 d98fa6 f2b8a0 f7dcc0 fbf3e6",  # dancers
        "2f3a2a 5f7f56 96b07f d9c27a e8a06f f3d8b0 f9f3e0",  # meadow
        "3a2a36 7a4f66 b5727f d9a07f b0c0c9 e6d6c4 f8f0e6",  # bathers
        "1f3350 3f78a0 7fb0c4 b5d0c0 f0cf9a e88f6f faf2e2",  # coast
        "33203f 6f4f8f a06fae e08fb0 f5c08f a8c89a fbf0e4",  # gardens at dusk
    ),
}
# (ink, paper) pairs of the woodcuts.
BLOCKS_AND_PAPERS: tuple[str, ...] = (
    "100f0e f3eee0",  # black on white
    "141210 e6d8b8",  # black on cream
    "1a1512 d8c39a",  # black on straw
    "14161a dfe2df",  # blue-black on grey-white
    "16120f bfa27a",  # black on brown paper
)
# (graphite or coloured pencil, paper) pairs.
PENCILS_AND_PAPERS: tuple[str, ...] = (
    "2e2e32 f6f4ee",  # soft graphite on white
    "3a3a3d ece6d6",  # graphite on cream
    "2b2d33 cfd3d4",  # graphite on grey
    "302c2a d9c7a6",  # graphite on buff
    "8a3324 f3ead9",  # sanguine pencil on ivory
    "2c3f73 f1efe8",  # blue pencil on white
)
# (charcoal, toned paper) pairs.
CHARCOALS_AND_PAPERS: tuple[str, ...] = (
    "141211 b59c77",  # on tan
    "15161a 8f9aa3",  # on blue-grey
    "17120f a98a6c",  # on brown
    "131314 a3a39a",  # on grey
    "14150f 9ba383",  # on olive
    "1a0f0d c0907a",  # on rose
)
# (ink, paper) pairs of the drawings; the paper of the first three takes white heightening well.
INKS_AND_PAPERS: tuple[str, ...] = (
    "1a1410 d8c29a",  # black on tan
    "1b2a4a b9c4c9",  # indigo on blue-grey
    "3a1a10 cfae8a",  # sanguine brown on buff
    "16130f f4eddb",  # black on cream
    "4a2412 f2e4c4",  # sepia on ivory
    "14213d f1efe6",  # blue-black on white
    "7a1f14 f3e6d0",  # red chalk on cream
    "12302a eceadb",  # bottle green on white
)


def parse(colours: str) -> Array:
    """Hexadecimal colours, separated by spaces, as RGB in [0, 1]. Shape: (N, 3)."""
    return np.array([list(bytes.fromhex(colour)) for colour in colours.split()], np.float32) / 255


def to_lab(rgb: Array) -> Array:
    """CIE L*a*b* of RGB in [0, 1]; both end in 3 channels."""
    return color.rgb2lab(rgb).astype(np.float32)


def to_rgb(lab: Array) -> Array:
    """RGB in [0, 1] of CIE L*a*b*; colours out of gamut are clipped."""
    flat = np.clip(lab.reshape(-1, 1, 3), (0, -100, -100), (100, 100, 100))
    # XYZ by hand: skimage warns about every colour out of gamut, and those are common and harmless here.
    y = (flat[..., 0] + 16) / 116
    f = np.stack([y + flat[..., 1] / 500, y, np.maximum(y - flat[..., 2] / 200, 0)], -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 16 / 116) / 7.787) * np.array([0.95047, 1, 1.08883])
    return np.clip(color.xyz2rgb(xyz), 0, 1).reshape(lab.shape).astype(np.float32)


def sample_palette(manner: str, rng: Random) -> Array:
    """One of the manner's palettes, each colour a little off, dark to light. RGB in [0, 1], shape (N, 3)."""
    choices = PALETTES[manner]
    lab = to_lab(parse(choices[rng.integers(len(choices))]))
    turn = np.exp(1j * rng.normal(0, 0.12)) * (lab[:, 1] + 1j * lab[:, 2])
    lab[:, 1], lab[:, 2] = turn.real, turn.imag
    lab += rng.normal(0, (3, 4, 4), lab.shape)
    return to_rgb(lab[np.argsort(lab[:, 0])])


def moments(lab: Array, weights: Array) -> tuple[Array, Array]:
    """The weighted mean (3,) and covariance (3, 3) of colours (N, 3)."""
    mean = (weights[:, None] * lab).sum(0) / weights.sum()
    centred = lab - mean
    covariance = np.einsum("n,ni,nj->ij", weights / weights.sum(), centred, centred)
    return mean, covariance + 4.0 * np.eye(3)


def power(matrix: Array, exponent: float) -> Array:
    """A power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.einsum("ik,k,jk->ij", vectors, values**exponent, vectors)


def harmonise(image: Array, palette: Array, rng: Random, pull: float = 0.5) -> Array:
    """The image in the colours of a palette.

    A linear map takes the image's mean and covariance in CIE L*a*b* to those of the palette, whose colours have
    random shares; then each pixel moves by ``pull`` towards the palette's nearest colours.
    Shape: image (H, W, 3), palette (N, 3); returns (H, W, 3) in [0, 1].
    Source: the Monge-Kantorovitch transfer of Pitie and Kokaram 2007, section 4.
    """
    lab, target = to_lab(image).reshape(-1, 3).astype(np.float64), to_lab(palette).astype(np.float64)
    mean, covariance = moments(lab, np.ones(len(lab)))
    goal, goal_covariance = moments(target, rng.uniform(0.5, 1.5, len(target)))
    root, inverse = power(covariance, 0.5), power(covariance, -0.5)
    middle = power(np.einsum("ij,jk,kl->il", root, goal_covariance, root), 0.5)
    moved = np.einsum("ni,ij->nj", lab - mean, np.einsum("ij,jk,kl->il", inverse, middle, inverse)) + goal
    distance = ((moved[:, None] - target) ** 2).sum(-1)
    share = np.exp(-(distance - distance.min(1, keepdims=True)) / (2 * 12.0**2))
    nearest = np.einsum("np,pi->ni", share / share.sum(1, keepdims=True), target)
    return to_rgb((moved + pull * (nearest - moved)).reshape(image.shape))


def nearest_colour(colours: Array, palette: Array) -> Array:
    """The index of the palette's colour nearest to each colour, by CIE L*a*b* distance. Shape: (N, 3) to (N,)."""
    return ((to_lab(colours)[:, None] - to_lab(palette)) ** 2).sum(-1).argmin(1)


def jitter(colours: Array, rng: Random, lightness: float, chroma: float) -> Array:
    """Colours (N, 3) with normal noise of these standard deviations in CIE L*a*b*."""
    lab = to_lab(colours)
    return to_rgb(lab + rng.normal(0, (lightness, chroma, chroma), lab.shape))
