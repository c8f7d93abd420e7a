"""`scumble train`, as a person uses it: what it writes, what it says, and how it ends on a mistake."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from runs import TINY, make_images, scumble, scumble_here

from scumble.checkpoint import checkpoint_path, list_checkpoints, load_task, read_checkpoint
from scumble.images import read_image


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    make_images(root / "content", 6, seed=1)
    make_images(root / "style", 4, seed=2)
    return root


def data(folders: Path) -> list[str]:
    return [f"data.content={folders / 'content'}", f"data.style={folders / 'style'}"]


@pytest.fixture(scope="module")
def run(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run with all loggers, and what it printed."""
    run_dir = tmp_path_factory.mktemp("runs") / "all loggers"
    overrides = [*TINY[:-1], "perceptual_encoder.weights=null", "logger=[csv,wandb,tensorboard]", "steps=5"]
    result = scumble("train", *overrides, *data(folders), f"run_dir={run_dir}", cwd=folders)
    return run_dir, result.stdout + result.stderr


def test_the_run_folder_holds_everything(run: tuple[Path, str]) -> None:
    run_dir, printed = run
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["run_dir"] == str(run_dir)
    assert config["task"]["generator"]["width"] == 8, "resolved"
    assert list(list_checkpoints(run_dir)) == [5, 4]
    assert sorted(path.name for path in (run_dir / "grids").iterdir()) == ["step=00000002.png", "step=00000004.png"]
    assert read_image(run_dir / "grids" / "step=00000004.png").shape[2] > 3 * 32
    assert "finished, step 5 of 5" in (run_dir / "report.md").read_text()
    assert list((run_dir / "wandb").glob("offline-run-*/*.wandb"))
    assert list((run_dir / "tensorboard").glob("events.*"))
    assert "scumble stylize PHOTO --style PAINTING" in printed
    assert "resume=true steps=10" in printed


def test_the_step_is_the_number_of_batches(run: tuple[Path, str]) -> None:
    run_dir, _ = run
    checkpoint = read_checkpoint(checkpoint_path(run_dir, 5))
    assert checkpoint["global_step"] == checkpoint["scumble"]["step"] == 5
    with (run_dir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows if row["val/style_distance"]] == ["2", "4"]


def test_raw_weighted_and_weights_are_logged(run: tuple[Path, str]) -> None:
    with (run[0] / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    for term in ("adversarial", "content", "style", "total_variation", "cycle"):
        raw, weighted, weight = (float(row[f"train/{kind}{term}"]) for kind in ("", "weighted/", "weight/"))
        assert weighted == pytest.approx(raw * weight, rel=1e-5)


def test_checkpoints_leave_the_frozen_encoder_out(run: tuple[Path, str]) -> None:
    checkpoint = read_checkpoint(checkpoint_path(run[0], 5))
    networks = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert networks == {"generator", "generator_ema", "discriminator"}
    task = load_task(run[0])
    stylized = task(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    assert stylized.shape == (1, 3, 32, 32)


def test_two_runs_of_one_config_are_equal(folders: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("a", "b"):
        scumble_here("train", *TINY, *data(folders), "steps=3", f"run_dir={tmp_path / name}", cwd=tmp_path)
        weights.append(read_checkpoint(checkpoint_path(tmp_path / name, 3))["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_multirun_names_its_runs_by_what_changed(folders: Path, tmp_path: Path) -> None:
    sweep = ["loss_weights.style=1,2", "-m", "steps=2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    scumble_here("train", *TINY, *data(folders), *sweep, cwd=tmp_path)
    for weight in (1, 2):
        folder = tmp_path / "sweep" / f"loss_weights.style={weight}"
        assert list(list_checkpoints(folder)) == [2]
        assert yaml.safe_load((folder / "config.yaml").read_text())["loss_weights"]["style"] == weight


def test_a_run_that_fails_does_not_stop_a_sweep(folders: Path, tmp_path: Path) -> None:
    sweep = ["task.accumulate=0,1", "-m", "steps=2", "hydra.sweep.dir=sweep"]
    result = scumble_here("train", *TINY, *data(folders), *sweep, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "these runs of the sweep failed" in result.stderr
    assert "task.accumulate=0: accumulate must be at least 1, got 0" in result.stderr
    assert "task.accumulate=1:" not in result.stderr
    error = (tmp_path / "sweep" / "task.accumulate=0" / "error.txt").read_text()
    assert error.startswith("accumulate must be at least 1, got 0")
    assert "Traceback" in error
    assert list(list_checkpoints(tmp_path / "sweep" / "task.accumulate=1")) == [2]


def test_a_sweep_names_all_runs_that_cannot_be_composed_and_starts_none(folders: Path, tmp_path: Path) -> None:
    sweep = ["generator=adain,transformer", "loss_weights.style=1,2,3", "discriminator=patch,none", "-m"]
    own = [word for word in TINY if not word.startswith(("generator", "discriminator"))]
    result = scumble_here("train", *own, *data(folders), *sweep, "hydra.sweep.dir=sweep", cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "generator=transformer" in result.stderr
    assert "residual_attention" in result.stderr, "what is accepted"
    assert "  discriminator=none,generator=adain,loss_weights.style=1\n" in result.stderr
    assert "discriminator=patch,generator=adain" not in result.stderr
    assert "loss_weights.style=2" not in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "sweep").exists()


MISTAKES = {
    "misspelt key": (["stepps=3"], "stepps"),
    "misspelt loss term": (["loss_weights.stile=3"], "stile"),
    "added loss term": (
        ["+loss_weights.stile=3"],
        "unknown loss term 'stile' in loss_weights; accepted: adversarial, content, style",
    ),
    "unknown choice": (["generator=transformer"], "residual_attention"),
    "image too small for the discriminator": (["data.image_size=6"], "image sides"),
    "missing folder": (["data.content=nowhere"], "nowhere"),
    "missing weights": (["perceptual_encoder=vgg19", "~perceptual_encoder.weights"], "perceptual_encoder.weights"),
    "too few checkpoints": (["callbacks.checkpoints.keep=1"], "keep of at least 2"),
    "unknown precision": (["trainer.precision=16-mixed"], "16-mixed"),
    "unknown way to resume": (["resume=yes"], "accepted: true, false, failed"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_a_clear_line(folders: Path, tmp_path: Path, mistake: str) -> None:
    overrides, message = MISTAKES[mistake]
    given = {word.split("=")[0] for word in overrides}
    common = [word for word in (*TINY, *data(folders)) if word.split("=")[0] not in given]
    if "perceptual_encoder=vgg19" in overrides:
        common = [word for word in common if not word.startswith("perceptual_encoder")]
        overrides = overrides[:1]
    result = scumble_here("train", *common, *overrides, f"run_dir={tmp_path / 'run'}", cwd=tmp_path, check=False)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_broken_images_are_skipped_counted_and_named(folders: Path, tmp_path: Path) -> None:
    content = make_images(tmp_path / "content", 18, seed=4)
    (content / "text.jpg").write_text("this is not a picture")
    (content / "empty.png").write_bytes(b"")
    arguments = [*TINY, f"data.content={content}", f"data.style={folders / 'style'}", "steps=2"]

    scumble_here("train", *arguments, f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    report = (tmp_path / "run" / "report.md").read_text()
    assert "2 files skipped" in report
    assert "text.jpg" in report
    assert "empty.png" in report

    strict = scumble_here(
        "train", *arguments, "data.strict=true", f"run_dir={tmp_path / 'strict'}", cwd=tmp_path, check=False
    )
    assert strict.returncode != 0
    assert "text.jpg" in strict.stderr
    assert "Traceback" not in strict.stderr


def test_a_full_disk_keeps_the_last_checkpoint(folders: Path, tmp_path: Path) -> None:
    """A folder in place of the next checkpoint refuses the write, as a full disk does."""
    run_dir = tmp_path / "run"
    arguments = [*TINY, *data(folders), "steps=4", f"run_dir={run_dir}"]
    checkpoint_path(run_dir, 4).mkdir(parents=True)
    result = scumble_here("train", *arguments, cwd=tmp_path, check=False)
    assert result.returncode != 0
    assert "cannot write" in result.stderr
    assert "step=00000004.ckpt" in result.stderr
    assert "Traceback" not in result.stderr
    assert read_checkpoint(checkpoint_path(run_dir, 2))["global_step"] == 2
