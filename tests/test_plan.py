"""`scumble sweep plan`: what it finds wrong before anything starts, and what it says that a sweep would cost."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from runs import TINY, make_images, scumble_here

from scumble.overrides import compose_run, naming_of_sweep, parse, runs_of_grid, what_changed
from scumble.run import planned
from scumble.sweeps.plan import Costs, Planned, cost_key, described, runs_at_a_time_of

COSTS = Costs(process=10, start=2, step=0.5, validation=3, checkpoint=1, memory=2**30, gpu_memory=0)
CONFIG = {"steps": 100, "val_every_n_steps": 40, "checkpoint_every_n_steps": 30}


def config(*overrides: str) -> dict[str, Any]:
    plain, _ = planned(compose_run(["threads=1", "debug=tiny", *overrides]), run_dir="run")
    return plain


def test_the_time_of_a_run_is_the_sum_of_its_parts() -> None:
    # Two validations, and checkpoints at 30, 60, 90 and the last step.
    assert COSTS.seconds(CONFIG) == 2 + 100 * 0.5 + 2 * 3 + 4 * 1


@pytest.mark.parametrize(
    ("workers", "total"),
    [
        (1, "3 runs, 1 at a time: about 3 min, and up to 1.00 GiB of memory."),  # 10 + 3 * 62 s
        (2, "3 runs, 2 at a time: about 2 min, and up to 2.00 GiB of memory."),  # 10 + 2 * 62 s
        (8, "3 runs, 3 at a time: about 72 s, and up to 3.00 GiB of memory."),
    ],
)
def test_the_total_is_that_of_workers_that_take_the_next_run_when_they_are_free(workers: int, total: str) -> None:
    runs = [Planned(f"seed={seed}", [], CONFIG, workers, {"generator": 1234567}, costs=COSTS) for seed in range(3)]
    lines = described(runs)
    assert lines[0].split() == ["run", "generator", "time", "memory"]
    assert lines[1].split() == ["seed=0", "1.23", "M", "62", "s", "1.00", "GiB"]
    assert total in lines


def test_what_is_invalid_or_not_measured_says_so() -> None:
    runs = [Planned("a", [], CONFIG, error="bad"), Planned("b", [], CONFIG, parameters={"generator": 99})]
    lines = [line.split() for line in described(runs)]
    assert lines[1] == ["a", "invalid"]
    assert lines[2] == ["b", "99", "not", "measured"]
    assert lines[-1] == ["2", "runs.", "None", "could", "be", "measured", "on", "this", "machine."]


@pytest.mark.parametrize(
    "same", ["loss_weights.style=7", "seed=5", "optimizer.optimizers.generator.lr=0.01", "steps=9", "logger=csv"]
)
def test_runs_that_cost_the_same_are_measured_once(same: str) -> None:
    assert cost_key(config(same)) == cost_key(config())


@pytest.mark.parametrize(
    "other",
    [
        "loss_weights.cycle=0",
        "loss_weights.identity=1",
        "task.penalty_weights.r1=1",
        "generator.blocks=1",
        "discriminator=multiscale",
        "data.image_size=64",
        "data.batch_size=1",
        "data.num_workers=1",
        "task.discriminator_steps=2",
        "adversarial_loss=wasserstein",
        "threads=2",
        "metrics=lpips metrics.lpips.backbone=a metrics.lpips.heads=b",
        "callbacks.picture_grid.rows=4",
    ],
)
def test_runs_that_cost_more_are_measured_as_well(other: str) -> None:
    assert cost_key(config(*other.split())) != cost_key(config())


@pytest.mark.parametrize(
    ("launcher", "runs"),
    [
        ({"_target_": "x"}, 1),
        ({"n_jobs": 3}, 3),
        ({"array_parallelism": 8}, 8),
    ],
)
def test_how_many_runs_a_launcher_trains_at_a_time(launcher: dict[str, Any], runs: int) -> None:
    assert runs_at_a_time_of(launcher) == runs


def test_a_planned_run_has_the_name_of_its_folder_and_the_config_of_a_run_in_it() -> None:
    overrides = ["loss_weights.style=1,5", "threads=1", "generator=adain,unet", "hydra/launcher=workstation"]
    words = runs_of_grid(overrides)[-1]
    name = what_changed(words, parse(overrides))
    composed = compose_run([*words, *naming_of_sweep(["-m", *overrides])])
    plain, launcher = planned(composed, name)
    assert HydraConfig.get().sweep.subdir == name == "generator=unet,loss_weights.style=5"
    assert plain["run_dir"] == plain["callbacks"]["checkpoints"]["run_dir"] == name
    assert launcher["n_jobs"] >= 1


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = make_images(tmp_path_factory.mktemp("images"), 4)
    return [f"data.content={folder}", f"data.style={folder}"]


def test_a_sampler_has_no_plan(tmp_path: Path) -> None:
    result = scumble_here(
        "sweep", "plan", "seed=range(1,3)", "loss_weights.style=interval(1,2)", cwd=tmp_path, check=False
    )
    assert "only a grid can be planned" in result.stderr


def test_the_stopwatch_writes_what_a_run_cost(images: list[str], tmp_path: Path) -> None:
    every = ["steps=8", "val_every_n_steps=8", "checkpoint_every_n_steps=4"]
    stopwatch = "+callbacks.stopwatch={_target_: scumble.callbacks.Stopwatch, path: costs.json}"
    scumble_here("train", *TINY, *images, *every, stopwatch, "run_dir=run", cwd=tmp_path)
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs.keys() == {*Costs._fields, "total"} - {"process"}
    assert all(costs[name] > 0 for name in ("start", "step", "memory"))
    assert all(costs[name] >= 0 for name in ("validation", "checkpoint"))  # differences: a busy machine hides them
    assert costs["start"] + costs["step"] + costs["validation"] + costs["checkpoint"] < costs["total"]
    assert costs["gpu_memory"] == 0


@pytest.mark.slow
def test_a_plan_finds_what_is_invalid_and_measures_what_is_different(images: list[str], tmp_path: Path) -> None:
    own = [word for word in TINY if not word.startswith("discriminator.")]
    grid = ["loss_weights.style=1,2", "task.accumulate=0,1", "data.image_size=6,32", "discriminator=patch,none"]
    result = scumble_here("sweep", "plan", "-m", *own, *images, *grid, "steps=100", cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert result.stderr.count("Measuring") == 2, result.stderr
    assert "14 of 16 runs are invalid" in result.stdout
    said = result.stdout.partition("runs are invalid.")[2]
    assert said.count("accumulate must be at least 1, got 0") == 1
    assert said.count("Could not find 'discriminator/none'") == 1
    small = [
        f"data.image_size=6,discriminator=patch,loss_weights.style={weight},task.accumulate=1" for weight in (1, 2)
    ]
    assert "image sides" in said
    assert said.rstrip().endswith("\n  ".join(small))
    assert "16 runs, 1 at a time: about " in result.stdout
    assert list(tmp_path.iterdir()) == []
