"""Damage of photographs: ranges, random state, and what each one does, against closed forms."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.data.damage import (
    Blur,
    Holes,
    LowLight,
    LowResolution,
    Noise,
    OldPhoto,
    gaussian_blur,
    linear_to_srgb,
    scratches,
    srgb_to_linear,
)

DAMAGES: dict[str, Callable[[], nn.Module]] = {
    "holes": Holes,
    "noise": Noise,
    "blur": Blur,
    "low resolution 2": lambda: LowResolution(2),
    "low resolution 4": lambda: LowResolution(4),
    "old photo": OldPhoto,
    "low light": LowLight,
}


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest) -> nn.Module:
    return DAMAGES[request.param]()


@pytest.mark.parametrize("size", [(64, 64), (33, 21)])
def test_a_damage_keeps_shape_and_range_and_changes_images(damage: nn.Module, size: tuple[int, int]):
    images = torch.rand(3, 3, *size)
    before = images.clone()
    damaged = damage(images)
    assert damaged.shape == images.shape
    assert 0 <= damaged.min() <= damaged.max() <= 1
    assert (damaged - images).abs().mean() > 0.005
    assert torch.equal(images, before)
    assert not list(damage.state_dict())


def test_a_damage_is_drawn_from_torchs_generator(damage: nn.Module):
    images = torch.rand(2, 3, 32, 32)
    torch.manual_seed(5)
    first, second = damage(images), damage(images)
    torch.manual_seed(5)
    assert torch.equal(damage(images), first)
    if not isinstance(damage, LowResolution):
        assert not torch.equal(second, first)


def test_holes_are_filled_and_nothing_else_is_touched():
    images, holes = torch.rand(4, 3, 40, 30) * 0.4, Holes(count=2, side=(0.2, 0.4), fill=(0.9, 0.8, 0.7))
    torch.manual_seed(0)
    mask = holes.mask(images)
    torch.manual_seed(0)
    damaged = holes(images)
    fill = torch.tensor([0.9, 0.8, 0.7])[:, None, None]
    assert torch.equal(damaged == fill, mask.expand_as(images))
    assert torch.equal(damaged[~mask.expand_as(images)], images[~mask.expand_as(images)])
    shares = mask.float().mean(dim=(1, 2, 3))
    assert (shares > 0.2 * 0.2 * 0.8).all()  # one hole at least; whole pixels
    assert (shares < 2 * 0.4 * 0.4 * 1.2).all()


def test_one_hole_is_a_rectangle_of_the_given_sides():
    mask = Holes(count=1, side=(0.25, 0.25)).mask(torch.zeros(20, 3, 40, 80))[:, 0]
    for picture in mask:
        rows, columns = picture.any(dim=1), picture.any(dim=0)
        assert abs(int(rows.sum()) - 10) <= 1
        assert abs(int(columns.sum()) - 20) <= 1
        assert torch.equal(picture, rows[:, None] & columns)


def test_noise_has_the_given_deviation():
    noise = Noise(deviation=(0.1, 0.1))(torch.full((1, 3, 128, 128), 0.5)) - 0.5
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.002)


def test_each_image_has_a_strength_of_its_own():
    noise = Noise(deviation=(0.02, 0.2))(torch.full((8, 3, 64, 64), 0.5)) - 0.5
    deviations = noise.std(dim=(1, 2, 3))
    assert deviations.min() > 0.018
    assert deviations.max() < 0.21
    assert deviations.max() > 1.5 * deviations.min()


def test_a_blurred_point_is_a_gaussian():
    image = torch.zeros(2, 1, 31, 31, dtype=torch.float64)
    image[:, :, 15, 15] = 1
    blurred = gaussian_blur(image, torch.tensor([1.0, 2.0], dtype=torch.float64))
    offset = torch.arange(-15, 16, dtype=torch.float64)
    for index, deviation in enumerate((1.0, 2.0)):
        spread = (blurred[index, 0] * (offset[:, None] ** 2)).sum()
        assert blurred[index].sum().item() == pytest.approx(1.0)
        assert spread.item() == pytest.approx(deviation**2, rel=0.03)  # the kernel ends at 6 pixels
    ratio = blurred[0, 0, 15, 16] / blurred[0, 0, 15, 15]
    assert ratio.item() == pytest.approx(math.exp(-0.5))


def test_a_blur_keeps_constants_also_of_small_images():
    image = torch.full((2, 3, 5, 4), 0.3)
    torch.testing.assert_close(gaussian_blur(image, torch.tensor([0.7, 4.0])), image)


def test_low_resolution_loses_the_finest_stripes_and_keeps_slow_ramps():
    stripes = torch.tensor([0.0, 1.0]).repeat(32)[None, None, None].expand(1, 3, 64, 64)
    assert LowResolution(2)(stripes)[..., 8:-8, 8:-8].std() < 0.02
    ramp = torch.linspace(0, 1, 64)[None, None, None].expand(1, 3, 64, 64)
    torch.testing.assert_close(LowResolution(4)(ramp)[..., 8:-8], ramp[..., 8:-8], atol=0.01, rtol=0)


def test_an_old_photo_without_any_ageing_is_the_photo():
    images = torch.rand(2, 3, 16, 16)
    nothing = OldPhoto(sepia=(0, 0), fading=(0, 0), scratches=0, grain=(0, 0))
    torch.testing.assert_close(nothing(images), images)


def test_full_sepia_has_one_hue_and_fading_goes_to_the_paper():
    images = torch.rand(1, 3, 16, 16)
    toned = OldPhoto(sepia=(1, 1), fading=(0, 0), scratches=0, grain=(0, 0))(images)
    paper = torch.tensor(OldPhoto.paper)
    ratios = toned[0] / toned[0, :1]
    torch.testing.assert_close(ratios, (paper / paper[0])[:, None, None].expand_as(ratios))
    luminance = 0.2126 * images[0, 0] + 0.7152 * images[0, 1] + 0.0722 * images[0, 2]
    torch.testing.assert_close(toned[0, 0], luminance)
    faded = OldPhoto(sepia=(0, 0), fading=(1, 1), scratches=0, grain=(0, 0))(images)
    torch.testing.assert_close(faded, paper[:, None, None].expand_as(images)[None].clone().reshape(1, 3, 16, 16))


def test_grain_has_the_given_deviation_and_no_colour():
    grain = OldPhoto(sepia=(0, 0), fading=(0, 0), scratches=0, grain=(0.05, 0.05))(torch.full((1, 3, 128, 128), 0.5))
    assert (grain - 0.5).std().item() == pytest.approx(0.05, rel=0.08)
    torch.testing.assert_close(grain[:, 0], grain[:, 1])


def test_scratches_are_thin_lines_through_all_rows():
    lines = scratches(torch.zeros(50, 3, 40, 60), 1)
    assert lines.shape == (50, 1, 40, 60)
    per_row = lines[:, 0].sum(dim=2)
    assert per_row.max() <= 2
    assert (per_row > 0).float().mean() > 0.8  # a slanted one may leave the picture
    assert not scratches(torch.zeros(1, 3, 8, 8), 0).any()


def test_the_srgb_curve_is_that_of_the_standard_and_its_inverse():
    values = torch.linspace(0, 1, 256, dtype=torch.float64)
    light = srgb_to_linear(values)
    for value, found in zip(values.tolist(), light.tolist(), strict=True):
        expected = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        assert found == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(linear_to_srgb(light), values, atol=1e-6, rtol=0)
    assert srgb_to_linear(torch.tensor(0.5)).item() == pytest.approx(0.2140, abs=1e-4)


def test_low_light_scales_the_linear_light_and_its_noise_grows_with_it():
    camera = LowLight(exposure=(0.1, 0.1), photons=1000.0, read_noise=3.0, bits=16)
    for value in (0.5, 0.9):
        light = srgb_to_linear(camera(torch.full((1, 3, 256, 256), value)).double())
        expected = 0.1 * srgb_to_linear(torch.tensor(value)).item()
        variance = (expected * 1000 + 3.0**2) / 1000**2
        assert light.mean().item() == pytest.approx(expected, rel=0.02)
        assert light.var().item() == pytest.approx(variance, rel=0.1)


def test_low_light_has_eight_bits():
    values = LowLight()(torch.rand(1, 3, 32, 32)) * 255
    torch.testing.assert_close(values, values.round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise((0.3, 0.1)), r"damage\.deviation must be two numbers, 0 <= least <= most, got \[0\.3, 0\.1\]"),
        (
            lambda: Holes(side=(0.1, 1.5)),
            r"damage\.side must be two numbers, 0 <= least <= most <= 1, got \[0\.1, 1\.5\]",
        ),
        (lambda: Holes(count=0), r"damage\.count must be at least 1, got 0"),
        (lambda: Holes(fill=(0.5, 0.5)), r"damage\.fill must be a colour of three numbers"),  # type: ignore[arg-type]
        (lambda: LowResolution(1), r"damage\.factor must be at least 2, got 1"),
        (lambda: LowLight(exposure=(0.0, 0.1)), r"exposure and photons above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], nn.Module], message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_blur_is_a_convolution_of_each_image_and_channel():
    images = torch.rand(2, 3, 12, 14, dtype=torch.float64)
    deviations = torch.tensor([0.8, 1.5], dtype=torch.float64)
    found = gaussian_blur(images, deviations)
    radius = 5
    for b in range(2):
        weights = torch.tensor([math.exp(-0.5 * (i / float(deviations[b])) ** 2) for i in range(-radius, radius + 1)])
        kernel = (weights[:, None] * weights / weights.sum() ** 2).double()[None, None]
        for c in range(3):
            padded: Tensor = F.pad(images[b : b + 1, c : c + 1], (radius,) * 4, mode="reflect")
            torch.testing.assert_close(found[b, c], F.conv2d(padded, kernel)[0, 0], atol=1e-6, rtol=1e-5)
