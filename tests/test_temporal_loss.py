"""The loss on flicker, the runs of all adversarial options at once, and that a weight of 0 costs nothing."""

import csv
import math
import shutil
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from runs import TINY, difference, make_images, scumble_here
from torch import Tensor, nn

from scumble.checkpoint import checkpoint_path, read_checkpoint
from scumble.losses import temporal
from scumble.losses.adversarial import Hinge
from scumble.losses.temporal import SHIFT, next_frame, random_shift, temporal_loss
from scumble.tasks.style_transfer import StyleTransfer

SHIFTS = [(0, 0), (3, -5), (-8, 8), (1, 0), (0, -7)]


def naive_frame(images: Tensor, down: int, right: int) -> Tensor:
    """Pixel (y, x) goes to (y + down, x + right); what enters is the mirror image of what is beside it."""
    height, width = images.shape[-2:]

    def mirrored(place: int, side: int) -> int:
        place = abs(place)
        return place if place < side else 2 * (side - 1) - place

    rows = [mirrored(y - down, height) for y in range(height)]
    columns = [mirrored(x - right, width) for x in range(width)]
    return images[..., rows, :][..., columns]


@pytest.mark.parametrize(("down", "right"), SHIFTS)
def test_the_next_frame_is_moved_and_reflected(down: int, right: int):
    images = torch.rand(2, 3, 12, 15)
    with patch.object(temporal, "NOISE", 0.0):
        assert torch.equal(next_frame(images, down, right), naive_frame(images, down, right))


def test_the_noise_of_the_next_frame_has_its_deviation_and_leaves_images_in_range():
    grey = torch.full((1, 3, 128, 128), 0.5)
    frame = next_frame(grey, 0, 0)
    assert frame.std().item() == pytest.approx(temporal.NOISE, rel=0.05)
    assert next_frame(torch.ones(1, 3, 16, 16), 2, 2).max() <= 1
    assert not torch.equal(next_frame(grey, 0, 0), frame), "drawn anew"


def test_shifts_are_whole_pixels_of_all_directions():
    shifts = [random_shift() for _ in range(2000)]
    for axis in range(2):
        assert {shift[axis] for shift in shifts} == set(range(-SHIFT, SHIFT + 1))


@pytest.mark.parametrize(("down", "right"), SHIFTS)
def test_the_temporal_loss_is_the_explicit_mean_over_the_pixels_that_both_show(down: int, right: int):
    stylized, following = torch.rand(2, 3, 12, 10), torch.rand(2, 3, 12, 10)
    differences = [
        abs(float(following[b, c, y + down, x + right] - stylized[b, c, y, x]))
        for b in range(2)
        for c in range(3)
        for y in range(12)
        for x in range(10)
        if 0 <= y + down < 12 and 0 <= x + right < 10
    ]
    expected = math.fsum(differences) / len(differences)
    assert temporal_loss(following, stylized, down, right).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("down", "right"), SHIFTS)
def test_the_temporal_loss_is_zero_for_what_moves_with_its_scene(down: int, right: int):
    stylized = torch.rand(2, 3, 16, 16)
    following = naive_frame(stylized, down, right)
    assert temporal_loss(following, stylized, down, right) == 0
    assert temporal_loss(following + 0.25, stylized, down, right).item() == pytest.approx(0.25)


# In the task


class Counted(nn.Module):
    """A generator that counts its calls and returns a darker content."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.calls = 0

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        self.calls += 1
        return self.gain * content


def task(**weights: float) -> StyleTransfer:
    return StyleTransfer(
        generator=Counted(),
        discriminator=nn.Identity(),
        perceptual_encoder=None,
        adversarial_loss=Hinge(),
        loss_weights=weights,
        optimizers={name: partial(torch.optim.Adam, lr=1e-3) for name in ("generator", "discriminator")},
    )


def test_a_temporal_weight_of_zero_calls_the_generator_no_more_often():
    content, style = torch.rand(2, 2, 3, 16, 16)
    calls = {}
    for weight in (0.0, 1.0):
        transfer = task(total_variation=1.0, temporal=weight)
        weights = transfer.loss_weights.at(0)
        state = torch.random.get_rng_state()
        terms = transfer.generator_losses(content, style, transfer.generator(content, style), weights)
        assert terms.keys() == weights.keys()
        assert torch.equal(torch.random.get_rng_state(), state) == (weight == 0), "and draws nothing"
        calls[weight] = transfer.generator.calls
    assert calls == {0.0: 1, 1.0: 2}


def test_a_generator_of_single_pixels_has_the_noise_alone_as_its_temporal_term():
    content, style = torch.full((2, 3, 64, 64), 0.5), torch.rand(2, 3, 16, 16)
    transfer = task(temporal=1.0)
    stylized = transfer.generator(content, style)
    found = transfer.generator_losses(content, style, stylized, {"temporal": 1.0})["temporal"]
    assert found.item() == pytest.approx(0.5 * temporal.NOISE * math.sqrt(2 / math.pi), rel=0.05)
    found.backward()
    assert transfer.generator.gain.grad is not None
    assert transfer.generator.gain.grad > 0


# All of it in a run

EVERYTHING = (
    "adversarial_loss=relativistic",
    "task.penalty_weights.r1=1",
    "task.penalty_weights.r2=1",
    "augmentation=diffaugment",
    "loss_weights.temporal=1",
)


def test_a_run_with_every_option_trains_and_resumes_exactly(tmp_path: Path):
    content, style = make_images(tmp_path / "content", 4, seed=1), make_images(tmp_path / "style", 3, seed=2)
    data = [f"data.content={content}", f"data.style={style}", "checkpoint_every_n_steps=1", "val_every_n_steps=2"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    scumble_here("train", *TINY, *data, *EVERYTHING, "steps=2", f"run_dir={whole}", cwd=tmp_path)
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2"]
    for name in ("discriminator", "r1", "r2", "adversarial", "temporal", "weighted/temporal"):
        assert all(math.isfinite(float(row[f"train/{name}"])) for row in rows), name
    assert "train/accuracy_real" not in rows[0]

    shutil.copytree(whole, stopped)
    checkpoint_path(stopped, 2).unlink()
    scumble_here("train", f"run_dir={stopped}", "resume=true", cwd=tmp_path)
    first, second = (read_checkpoint(checkpoint_path(run, 2)) for run in (whole, stopped))
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert difference(first[key], second[key]) == [], key
    before = read_checkpoint(checkpoint_path(whole, 1))["state_dict"]
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], first["state_dict"][name])}
    assert moved == {"generator", "generator_ema", "discriminator"}
    assert (whole / "metrics.csv").read_text() == (stopped / "metrics.csv").read_text()
