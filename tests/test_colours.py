"""Random colours of styles: closed forms of the change, its ranges, and which data accepts it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scumble.data.colours import OPPONENT, ColourChange, change_colours, random_colour_change
from scumble.data.module import ContentStylePairs, FixedPairs


def picture(seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(seed))


def test_opponent_colours_are_orthonormal():
    torch.testing.assert_close(OPPONENT @ OPPONENT.T, torch.eye(3))


def test_no_turn_and_factors_of_one_are_the_identity():
    torch.testing.assert_close(change_colours(picture(), ColourChange()), picture())
    torch.testing.assert_close(change_colours(picture(), ColourChange(turn=2 * math.pi)), picture())


@given(turn=st.floats(-4, 4), saturation=st.floats(0.3, 1.5))
def test_greys_stay_grey_as_they_are(turn: float, saturation: float):
    grey = picture()[:1].expand(3, -1, -1)
    torch.testing.assert_close(change_colours(grey, ColourChange(turn, saturation)), grey)


@given(turn=st.floats(-4, 4), saturation=st.floats(0.3, 1.5), contrast=st.floats(0.65, 1.35))
def test_the_mean_of_all_channels_is_preserved(turn: float, saturation: float, contrast: float):
    image = picture(1, 0.45, 0.55)  # far enough from 0 and 1 that nothing is clamped
    changed = change_colours(image, ColourChange(turn, saturation, contrast))
    assert changed.mean().item() == pytest.approx(image.mean().item(), abs=1e-5)
    torch.testing.assert_close(changed.mean(0).std(), contrast * image.mean(0).std(), rtol=1e-3, atol=1e-5)


def test_a_third_of_a_turn_takes_red_to_green_to_blue():
    primaries = torch.eye(3)[:, :, None]  # three pixels: red, green, blue
    third = change_colours(primaries, ColourChange(turn=2 * math.pi / 3))
    assert any(torch.allclose(third[:, :, 0], torch.eye(3)[:, order], atol=1e-6) for order in ([1, 2, 0], [2, 0, 1]))


def test_saturation_zero_is_the_mean_of_the_channels_and_brightness_is_added():
    image = picture(2, 0.3, 0.7)
    grey = change_colours(image, ColourChange(saturation=0.0))
    torch.testing.assert_close(grey, image.mean(0, keepdim=True).expand(3, -1, -1))
    torch.testing.assert_close(change_colours(image, ColourChange(brightness=0.15)), image + 0.15)
    assert change_colours(picture(), ColourChange(brightness=0.9)).max() == 1


def test_random_changes_fill_their_ranges():
    drawn = torch.tensor([random_colour_change(np.random.default_rng(seed)) for seed in range(400)])
    limits = torch.tensor([[-math.pi, 0.3, 0.65, -0.15], [math.pi, 1.5, 1.35, 0.15]])
    width = limits[1] - limits[0]
    assert ((drawn >= limits[0]) & (drawn <= limits[1])).all()
    assert (drawn.amin(0) < limits[0] + 0.05 * width).all()
    assert (drawn.amax(0) > limits[1] - 0.05 * width).all()


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_probability_that_is_none_is_refused(value: float):
    with pytest.raises(ValueError, match=rf"data\.style_colours is a probability from 0 to 1, got {value}"):
        ContentStylePairs("a", "b", seed=0, batch_size=1, image_size=8, style_colours=value)


def test_fixed_pairs_keep_their_colours():
    with pytest.raises(ValueError, match=r"data\.style_colours must be 0 for fixed pairs, got 0\.5"):
        FixedPairs("a", "b", seed=0, batch_size=1, image_size=8, style_colours=0.5)
