"""The painter: the same picture always, in manners that measurably differ."""

import subprocess
import sys
from hashlib import blake2b
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy import ndimage

from scumble.data.painter import MANNERS, paint
from scumble.data.painter.brush import along, grooves, lay, trace
from scumble.data.painter.canvas import blend, halve, light, luminance, noise, tangents
from scumble.data.painter.chalks import rub
from scumble.data.painter.compositions import COMPOSITIONS
from scumble.data.painter.drawings import flowing_contours
from scumble.data.painter.palettes import PALETTES, harmonise, parse, sample_palette, to_lab, to_rgb
from scumble.data.painter.prints import below, halftone

SIZE = 64


def photograph(height: int = 90, width: int = 120) -> np.ndarray:
    """A bright disc on a dark ramp."""
    y, x = np.mgrid[:height, :width] / height
    disc = np.hypot(y - 0.5, x - 0.6) < 0.3
    return np.stack([0.2 + 0.6 * disc, 0.3 * x + 0.3 * disc, 0.6 * y], -1).astype(np.float32)


def digest(picture: np.ndarray) -> str:
    """A hash of the picture as 8-bit numbers."""
    return blake2b((picture * 255).round().astype(np.uint8).tobytes()).hexdigest()


@pytest.mark.parametrize("subject", [None, photograph()], ids=["noise", "photograph"])
@pytest.mark.parametrize("manner", MANNERS)
def test_a_painting_is_a_float_picture_in_range_with_contrast(manner, subject):
    before = None if subject is None else subject.copy()
    picture = paint(manner, subject, SIZE, 3)
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.float32
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.05
    np.testing.assert_array_equal(subject, before)


@pytest.mark.parametrize("manner", MANNERS)
def test_the_seed_decides_the_picture(manner):
    np.random.seed(0)
    first = digest(paint(manner, photograph(), SIZE, 5))
    np.random.seed(1)
    assert digest(paint(manner, photograph(), SIZE, 5)) == first
    assert digest(paint(manner, photograph(), SIZE, 6)) != first


def test_another_process_paints_the_same_pictures():
    program = f"""
from hashlib import blake2b
from scumble.data.painter import MANNERS, paint
for manner in MANNERS:
    picture = (paint(manner, None, {SIZE}, 11) * 255).round().astype("uint8")
    print(blake2b(picture.tobytes()).hexdigest())
"""
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [digest(paint(manner, None, SIZE, 11)) for manner in MANNERS]


def texture(picture: np.ndarray) -> np.ndarray:
    """What a manner does to any picture: how contrast is spread over scales, tones and directions."""
    tone = picture.mean(-1) - picture.mean()
    tone /= tone.std()
    blurred = [tone, *(ndimage.gaussian_filter(tone, sigma) for sigma in (0.7, 1.4, 2.8, 5.6))]
    bands = [np.log((fine - coarse).std()) for fine, coarse in pairwise(blurred)]
    dy, dx = np.gradient(tone)
    slope = np.hypot(dy, dx)
    double_angle = (dx + 1j * dy) ** 2
    coherence = [np.abs(ndimage.gaussian_filter(double_angle, sigma)).mean() / (slope**2).mean() for sigma in (2, 5)]
    chroma = (picture - picture.mean(-1, keepdims=True)).std()
    flat = np.median(slope) / slope.mean()
    return np.array(
        [*bands, *coherence, flat, (tone**3).mean(), np.log((slope**4).mean() / (slope**2).mean() ** 2), 5 * chroma]
    )


def test_every_manner_has_a_texture_of_its_own():
    textures = {m: np.stack([texture(paint(m, photograph(), 128, s)) for s in range(3)]) for m in MANNERS}
    # Pictures find their own manner among the means of the others' (one is left out): chance would be one in sixteen.
    scale = np.concatenate(list(textures.values())).std(0)
    hits = 0
    for manner, rows in textures.items():
        for left_out, row in enumerate(rows):
            means = {m: np.delete(r, left_out, 0).mean(0) for m, r in textures.items()}
            nearest = min(means, key=lambda m: np.abs((means[m] - row) / scale).sum())
            hits += nearest == manner
    assert hits >= 0.6 * 3 * len(MANNERS)
    for one, other in combinations(MANNERS, 2):
        assert np.abs((textures[one].mean(0) - textures[other].mean(0)) / scale).max() > 0.5, (one, other)


def test_seeds_vary_the_palette():
    for manner in MANNERS:
        colours = np.stack([paint(manner, photograph(), SIZE, seed).mean((0, 1)) for seed in range(4)])
        assert colours.std(0).max() > 0.03, manner


def test_an_unknown_manner_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'fresco'") as error:
        paint("fresco", None, SIZE, 0)
    assert all(manner in str(error.value) for manner in MANNERS)


@pytest.mark.parametrize("size", [32, 75, 96])
def test_any_size_can_be_painted(size):
    for manner in MANNERS:
        assert paint(manner, photograph(40, 33), size, 1).shape == (size, size, 3)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_compositions_are_pictures(composition):
    picture = composition(SIZE, np.random.default_rng(2))
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.std() > 0.05


def test_tangents_run_along_edges():
    y, x = np.mgrid[:40, :40]
    for angle in (0.0, 0.7, 1.5, 2.4):
        bars = np.sin((x * -np.sin(angle) + y * np.cos(angle)) / 3)
        field = tangents(np.repeat(bars[..., None], 3, -1), 4)[10:-10, 10:-10]
        assert np.cos(np.angle(field) - 2 * angle).min() > 0.95  # orientations: half a turn makes no difference


def test_a_trace_through_a_constant_field_is_straight_and_as_long_as_asked():
    paths = trace(np.full((50, 50), 0.6), np.array([[25.0, 25.0]], np.float32), 20)
    span = paths[0, -1] - paths[0, 0]
    assert np.hypot(*span) == pytest.approx(20, abs=1.5)
    assert np.arctan2(span[1], span[0]) % np.pi == pytest.approx(0.6, abs=1e-3)


def test_a_blur_along_a_field_keeps_the_stripes_along_it_and_loses_those_across():
    y, x = np.mgrid[:60, :60].astype(np.float32)
    for angle in (0.0, 0.7, 2.4):
        across = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / 8)
        lengthwise = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / 8)
        middle = np.s_[15:-15, 15:-15]
        kept = along(across, np.full((60, 60), angle), 7)[middle]
        assert kept.std() == pytest.approx(across[middle].std(), rel=0.25)
        assert along(lengthwise, np.full((60, 60), angle), 7)[middle].std() < 0.02
    np.testing.assert_allclose(along(np.full((9, 9), 0.3), np.zeros((9, 9)), 3), 0.3)


def test_grooves_run_along_the_field_at_the_asked_distance():
    relief = grooves(np.full((128, 128), 0.0), 8.0, np.random.default_rng(0))
    assert np.abs(relief).max() <= 1
    dy, dx = np.gradient(relief)
    assert (dy**2).mean() > 10 * (dx**2).mean()
    spectrum = np.abs(np.fft.rfft(relief - relief.mean(), axis=0)).mean(1)
    assert 128 / spectrum.argmax() == pytest.approx(8, rel=0.3)


def test_halftone_dots_cover_as_much_as_it_is_dark():
    def area(darkness: float) -> float:
        return float(halftone(np.full((120, 120), darkness), 12.0, 0.5).mean())

    assert area(0.0) < 0.01
    assert area(0.5) == pytest.approx(0.5, abs=0.01)
    assert area(1.0) > 0.99
    assert area(0.25) == pytest.approx(1 - area(0.75), abs=0.02)


def test_a_dry_stick_takes_the_peaks_of_the_paper_first():
    relief = np.linspace(-2, 2, 9)
    light_, firm = rub(np.full(9, 0.3), relief), rub(np.full(9, 0.8), relief)
    assert (np.diff(light_) >= 0).all()
    assert (firm >= light_).all()
    assert light_[0] == 0
    assert firm[-1] == 1


def test_contours_stand_on_edges_alone():
    disc = luminance(photograph(100, 100))
    ink = flowing_contours(disc, np.angle(tangents(photograph(100, 100), 2)) / 2, 1.0, 0.0)
    y, x = np.mgrid[:100, :100] / 100
    distance = np.abs(np.hypot(y - 0.5, x - 0.6) - 0.3) * 100
    assert ink[distance > 8].max() < 0.01
    assert ink[distance < 3].mean() > 0.2


def test_prints_have_few_inks_and_charcoal_has_chalk():
    def shares(manner: str) -> np.ndarray:
        """How the tones of a picture are spread over five equal ranges from its darkest to its lightest."""
        tone = luminance(paint(manner, photograph(300, 300), 256, 4))
        return np.histogram((tone - tone.min()) / np.ptp(tone), 5, (0, 1))[0] / tone.size

    black, *grey, white = shares("woodcut")
    assert black + white > 0.75
    assert max(grey) < 0.2
    picture = paint("screen_print", photograph(300, 300), 256, 4).reshape(-1, 3)
    assert np.unique((picture * 8).round(), axis=0, return_counts=True)[1].max() > 0.1 * len(picture)
    assert shares("ink")[3:].sum() > 0.6  # most of the sheet is bare
    charcoal = shares("charcoal")
    assert charcoal[0] > 0.02  # coal
    assert charcoal[-1] > 0.02  # chalk
    assert charcoal[1:-1].sum() > 0.3  # paper


def test_the_last_stroke_lies_on_top_without_holes():
    steps = np.arange(0, 30, 0.7, dtype=np.float32)
    level = np.stack([5 + steps, np.full_like(steps, 20)], -1)
    steep = np.stack([np.full_like(steps, 20), 5 + steps], -1)
    strokes = lay(np.stack([level, steep]), np.full((2, 1), 4.0), 40, 50)
    assert (strokes.owner[10:30, 17:23] == 1).all()
    assert (strokes.owner[18:22, 8:15] == 0).all()
    assert (strokes.owner[:4] == -1).all()
    assert strokes.across.min() == -1
    assert strokes.across.max() == 1


def test_below_counts_the_crossings_of_an_overhanging_curve():
    x = np.concatenate([np.arange(0, 20, 0.5), np.arange(20, 10, -0.5), np.arange(10, 30, 0.5)])
    y = np.concatenate([np.full(40, 5.0), np.full(20, 10.0), np.full(40, 15.0)])
    mask = below(x, y, 30)
    assert mask[6, 5]  # under the simple part
    assert not mask[3, 5]
    assert mask[7, 15]  # inside the overhanging tongue
    assert not mask[12, 15]  # in the hollow beneath it
    assert mask[20, 15]


def test_harmonise_takes_on_the_palette():
    palette = parse("102040 f0c020 e8e8e0")
    picture = harmonise(photograph(), palette, np.random.default_rng(0), 1.0)
    distance = np.linalg.norm(to_lab(picture)[:, :, None] - to_lab(palette), axis=-1).min(-1)
    assert np.quantile(distance, 0.75) < 12


def test_colours_survive_the_way_through_lab():
    rgb = np.random.default_rng(0).random((50, 3), np.float32)
    np.testing.assert_allclose(to_rgb(to_lab(rgb)), rgb, atol=2e-3)


@pytest.mark.parametrize("manner", PALETTES)
def test_palettes_run_from_dark_to_light(manner):
    palette = sample_palette(manner, np.random.default_rng(1))
    assert manner in MANNERS
    assert palette.min() >= 0
    assert palette.max() <= 1
    assert (np.diff(to_lab(palette)[:, 0]) > -3).all()  # the gamut may clip a colour's lightness a little


def test_noise_is_normalised_and_light_is_shaded_by_slope():
    field = noise(64, 8, np.random.default_rng(0), 3)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-3)
    ramp = np.tile(np.arange(8.0), (8, 1))
    np.testing.assert_allclose(light(ramp, 0.0, 1.0), np.sqrt(0.5))
    np.testing.assert_allclose(light(ramp, np.pi / 2, 1.0), 0, atol=1e-12)
    np.testing.assert_allclose(halve(ramp)[0], [0.5, 2.5, 4.5, 6.5])
    np.testing.assert_allclose(blend(np.zeros((2, 2, 3)), np.ones((2, 2, 3)), np.full((2, 2), 0.25)), 0.25)
