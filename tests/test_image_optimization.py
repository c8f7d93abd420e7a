"""The optimization of the images themselves: its terms, its pyramid, both optimizers, resume."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import difference, make_images, scumble_here
from torch import Tensor

from scumble.checkpoint import checkpoint_path, load_task, read_checkpoint
from scumble.data.module import FixedPairs
from scumble.data.pairs import SamePairs
from scumble.images import write_image
from scumble.losses.perceptual import gatys_content_loss, gatys_style_loss
from scumble.networks.perceptual_encoders import DistilledEncoder
from scumble.statistics import gram_matrix
from scumble.tasks.image_optimization import ImageOptimization, enlarge

SMALL = (
    "experiment=gatys",
    "data.image_size=32",
    "data.batch_size=2",
    "threads=1",
    "val_every_n_steps=4",
    "checkpoint_every_n_steps=3",
    "trainer.log_every_n_steps=1",
    "logger=csv",
)
OPTIMIZERS = {
    "adam": (),
    "lbfgs": ("optimizer=lbfgs_images", "optimizer.optimizers.images.max_iter=4"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("images")
    content, style = make_images(root / "content", 3, seed=1), make_images(root / "style", 2, seed=2)
    return [f"data.content={content}", f"data.style={style}"]


def paint(run_dir: Path, *overrides: str) -> Path:
    scumble_here("train", *SMALL, *overrides, f"run_dir={run_dir}", cwd=run_dir.parent)
    return run_dir


def metrics(run_dir: Path, name: str) -> list[float]:
    with (run_dir / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def task(**settings: Any) -> ImageOptimization:
    weights = {"content": 1.0, "style": 1.0, "total_variation": 0.0}
    options = {"optimizers": {"images": torch.optim.Adam}, "pairs": 2, "image_size": 64, "loss_weights": weights}
    return ImageOptimization(DistilledEncoder(), **(options | settings))


# Terms


def naive_gatys(features: Tensor, content: Tensor, style: Tensor) -> tuple[float, float]:
    """Equations 1, 3 and 4 of the paper for one image and one layer, as sums over indices."""
    channels, height, width = features.shape
    positions = [(y, x) for y in range(height) for x in range(width)]
    half_square = sum((features[i, y, x] - content[i, y, x]) ** 2 / 2 for i in range(channels) for y, x in positions)
    energy = 0.0
    for i in range(channels):
        for j in range(channels):
            gram, target = (sum(maps[i, y, x] * maps[j, y, x] for y, x in positions) for maps in (features, style))
            energy += (gram - target) ** 2
    return float(half_square), float(energy / (4 * channels**2 * len(positions) ** 2))


def test_the_terms_are_those_of_the_paper():
    layers = {"relu1_1": (2, 3, 4, 5), "relu2_1": (2, 4, 2, 3)}
    features, content, style = ({name: torch.rand(shape) for name, shape in layers.items()} for _ in range(3))
    expected_content = expected_style = 0.0
    for layer in layers:
        for image in range(2):
            half_square, energy = naive_gatys(features[layer][image], content[layer][image], style[layer][image])
            expected_content += half_square / 2  # two images
            expected_style += energy / 2 / 2  # and two layers
    grams = {layer: gram_matrix(maps) for layer, maps in style.items()}
    assert gatys_content_loss(features, content).item() == pytest.approx(expected_content, rel=1e-5)
    assert gatys_style_loss(features, grams).item() == pytest.approx(expected_style, rel=1e-5)


# The pyramid and its start


def test_each_level_has_half_the_side_of_the_next():
    assert task(levels=3).sides == [16, 32, 64]
    assert task(image_size=50, levels=2).sides == [25, 50]
    assert task().sides == [64]
    assert {name: tuple(value.shape) for name, value in task(levels=2).named_parameters()} == {
        "level_0.images": (2, 3, 32, 32),
        "level_1.images": (2, 3, 64, 64),
    }


def test_the_first_level_starts_at_what_was_chosen_and_the_next_at_the_level_before():
    content, style = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    for start, expected in (("content", content), ("style", style)):
        painting = task(start=start)
        painting.begin(0, content, style)
        assert torch.equal(painting(), expected)
    noise = task(start="noise", levels=2)
    noise.begin(0, *(noise.at_level(0, images) for images in (content, style)))
    assert noise().shape == (2, 3, 32, 32)
    assert abs(noise().mean() - 0.5) < 0.02
    assert noise().std() == pytest.approx(12**-0.5, abs=0.02)  # uniform
    noise.begin(1, content, style)
    assert torch.equal(noise(), enlarge(noise.images(0), 64))


def test_images_at_a_level_are_averaged_not_picked():
    stripes = torch.zeros(2, 3, 64, 64)
    stripes[..., ::2] = 1
    inside = task(levels=2).at_level(0, stripes)[..., 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5), atol=0.01, rtol=0)


def test_enlarging_keeps_the_range_and_what_has_the_size():
    images = torch.rand(1, 3, 16, 16).round()
    assert enlarge(images, 16) is images
    larger = enlarge(images, 32)
    assert larger.shape == (1, 3, 32, 32)
    assert 0 <= larger.min() <= larger.max() <= 1


def test_a_run_goes_through_its_levels(tmp_path: Path, data: list[str]) -> None:
    run = paint(tmp_path / "run", *data, "steps=6", "task.levels=2", "task.steps_per_level=3")
    state = read_checkpoint(checkpoint_path(run, 6))["state_dict"]
    assert state["begun"] == 2
    assert set(state) == {"begun", "level_0.images", "level_1.images"}, "no frozen encoder"
    assert state["level_0.images"].shape == (2, 3, 16, 16)
    half_way = read_checkpoint(checkpoint_path(run, 3))["state_dict"]
    assert half_way["begun"] == 1
    assert torch.equal(half_way["level_0.images"], state["level_0.images"]), "a finished level rests"
    assert half_way["level_1.images"].abs().max() == 0, "the next one has not begun"
    assert (state["level_1.images"] != enlarge(state["level_0.images"], 32)).any()
    painted = load_task(run)()
    assert torch.equal(painted, state["level_1.images"])
    assert 0 <= painted.min() <= painted.max() <= 1


# Optimization


@pytest.mark.parametrize(("optimizer", "start"), [("adam", "content"), ("adam", "noise"), ("lbfgs", "content")])
def test_the_objective_falls(tmp_path: Path, data: list[str], optimizer: str, start: str) -> None:
    run = paint(tmp_path / "run", *data, *OPTIMIZERS[optimizer], "steps=16", f"task.start={start}")
    objective = metrics(run, "train/objective")
    # Measured: at most 0.45 of the first value, with either optimizer.
    assert objective[-1] < 0.6 * objective[0]
    assert (metrics(run, "train/content")[0] == 0) == (start == "content")


def test_a_term_of_weight_0_is_not_computed_and_an_unknown_one_is_refused(tmp_path: Path, data: list[str]) -> None:
    run = paint(tmp_path / "run", *data, "steps=2", "loss_weights.content=0")
    assert "train/style" in (run / "metrics.csv").read_text()
    assert "train/content" not in (run / "metrics.csv").read_text()
    with pytest.raises(ValueError, match="unknown loss term 'stile'"):
        task(loss_weights={"stile": 1.0})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resume_is_exact(tmp_path: Path, data: list[str], optimizer: str) -> None:
    # Stopped after 3 steps in the first level and after 8 in the second, with L-BFGS's history of both.
    overrides = [*data, *OPTIMIZERS[optimizer], "task.start=noise", "task.levels=2", "task.steps_per_level=5"]
    overrides += ["optimizer.lr_schedule.end=1.0"] if optimizer == "adam" else []  # the same for any length of the run
    whole = paint(tmp_path / "whole", *overrides, "steps=12")
    parts = paint(tmp_path / "parts", *overrides, "steps=3")
    for steps in (8, 12):
        scumble_here("train", f"run_dir={parts}", "resume=true", f"steps={steps}", cwd=tmp_path)
    first, second = (read_checkpoint(checkpoint_path(run, 12)) for run in (whole, parts))
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert difference(first[key], second[key]) == [], key
    if optimizer == "lbfgs":
        states = [state["state"] for state in first["optimizer_states"][1:]]
        assert all(len(state[0]["old_dirs"]) > 1 for state in states), "there is a history to lose"
    assert metrics(whole, "train/objective") == metrics(parts, "train/objective")


# Data


def test_every_batch_holds_the_same_pairs(data: list[str]) -> None:
    content, style = (word.split("=")[1] for word in data)
    pairs = FixedPairs(content, style, seed=0, image_size=16, validation_size=16, batch_size=2, validation_fraction=0.0)
    pairs.setup()
    dataset, walk, sizes = pairs.training_set()
    batches = walk(**sizes, batch_size=2, seed=0, start=6)
    assert isinstance(batches, SamePairs)
    assert [batches.batch(step) for step in (0, 1, 7)] == [[0, 1]] * 3
    for index in range(2):
        painted, validated = dataset[index], pairs.validation_set()[index]
        assert all(torch.equal(painted[name], validated[name]) for name in ("content", "style"))


def test_two_files_make_one_pair(tmp_path: Path) -> None:
    for name in ("photo", "painting"):
        write_image(torch.rand(3, 40, 52), tmp_path / f"{name}.png")
    files = [f"data.content={tmp_path / 'photo.png'}", f"data.style={tmp_path / 'painting.png'}"]
    run = paint(tmp_path / "run", *files, "steps=1", "data.batch_size=1")
    assert load_task(run)().shape == (1, 3, 32, 32)
    refused = scumble_here(
        "train", *SMALL, *files, "steps=1", f"run_dir={tmp_path / 'other'}", cwd=tmp_path, check=False
    )
    assert "make only 1 different pairs; set data.batch_size=1" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "photo"}, "start must be one of content, noise, style, got 'photo'"),
        ({"optimizers": {"generator": torch.optim.Adam}}, "one named images, got generator; set optimizer=adam_images"),
        ({"levels": 0}, "levels and task.steps_per_level must be at least 1, got 0, 1"),
        ({"levels": 4}, "task.levels=4 would have a side of 8 pixels, at least 16"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**settings)


def test_batches_of_another_shape_and_accumulation_are_refused(tmp_path: Path, data: list[str]) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 32, 32\), but .* ask for \(2, 3, 64, 64\)"):
        task().at_level(0, torch.rand(2, 3, 32, 32))
    refused = scumble_here(
        "train", *SMALL, *data, "steps=1", "task.accumulate=2", f"run_dir={tmp_path / 'run'}", cwd=tmp_path, check=False
    )
    assert "task.accumulate must be 1 for ImageOptimization, got 2" in refused.stderr
