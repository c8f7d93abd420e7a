"""Monitors, skipped updates and the shares of a gradient: what shows that a GAN fails."""

import csv
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from runs import TINY, make_images, scumble_here
from torch import Tensor, nn

from scumble.callbacks import Monitor, Monitors
from scumble.checkpoint import list_checkpoints
from scumble.ledger import State, read_status
from scumble.losses.adversarial import BCE, Hinge, LeastSquares, Wasserstein, accuracies
from scumble.tasks.manual import ManualTask


class Trainer(SimpleNamespace):
    """What a monitor sees of a trainer."""

    def __init__(self) -> None:
        super().__init__(
            global_step=0, log_every_n_steps=1, callback_metrics={}, is_global_zero=True, loggers=[],
            should_stop=False, sanity_checking=False,
        )  # fmt: skip


def look(monitors: Monitors, trainer: Trainer, value: float) -> None:
    trainer.global_step += 1
    trainer.callback_metrics = {"train/x": torch.tensor(value)}
    monitors.on_train_batch_end(trainer, None)  # type: ignore[arg-type]


def one(tmp_path: Path, **options: Any) -> Monitors:
    return Monitors(tmp_path, {"x": Monitor("train/x", "What helps.", **options), "taken out": None})


@pytest.mark.parametrize("value", [1.5, -0.5, float("nan"), float("inf")])
def test_a_monitor_fires_once_when_its_metric_is_outside(
    tmp_path: Path, value: float, caplog: pytest.LogCaptureFixture
):
    monitors, trainer = one(tmp_path, above=1.0, below=0.0), Trainer()
    for _ in range(3):
        look(monitors, trainer, value)
    assert [record.getMessage() for record in caplog.records] == [f"step 1: x: train/x is {value:.4g}. What helps."]
    look(monitors, trainer, 0.5)
    look(monitors, trainer, value)
    assert len(caplog.records) == 2, "it fires again after it was back"
    assert not trainer.should_stop
    assert not (tmp_path / "monitors.txt").exists()


def test_bounds_are_within(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    monitors, trainer = one(tmp_path, above=1.0, below=0.0), Trainer()
    for value in (0.0, 1.0, 0.5):
        look(monitors, trainer, value)
    assert not caplog.records


def test_patience_counts_looks_in_a_row_and_survives_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    monitors, trainer = one(tmp_path, above=1.0, patience=3), Trainer()
    for value in (2.0, 2.0, 0.5, 2.0, 2.0):
        look(monitors, trainer, value)
    assert not caplog.records
    resumed = one(tmp_path, above=1.0, patience=3)
    resumed.load_state_dict(monitors.state_dict())
    look(resumed, trainer, 2.0)
    assert len(caplog.records) == 1


def test_tag_and_stop_do_what_they_say(tmp_path: Path):
    tags: list[str] = []
    trainer = Trainer()
    trainer.loggers = [SimpleNamespace(add_tag=tags.append), SimpleNamespace()]
    look(one(tmp_path, above=1.0, action="tag"), trainer, 2.0)
    assert tags == ["x"]
    assert not trainer.should_stop
    stopping = one(tmp_path, above=1.0, action="stop")
    assert not stopping.stopped
    look(stopping, trainer, 3.0)
    assert trainer.should_stop
    assert stopping.stopped == "step 2: x: train/x is 3. What helps."
    assert (tmp_path / "monitors.txt").read_text().splitlines() == [
        "step 1: x: train/x is 2. What helps.",
        "step 2: x: train/x is 3. What helps.",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"action": "halt", "above": 1.0}, "warn, tag, stop"), ({}, "needs a bound"), ({"above": 1, "patience": 0}, "at")],
)
def test_mistakes_are_named(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Monitor("train/x", "", **options)


# The accuracy of a discriminator


@pytest.mark.parametrize(("loss", "shift"), [(BCE(), 0.0), (Hinge(), 0.0), (LeastSquares(), 0.5)])
def test_accuracies_count_the_right_logits(loss: Any, shift: float):
    real, fake = torch.tensor([-1.0, 1.0, 2.0, 3.0]) + shift, torch.tensor([-1.0, -2.0, 1.0, 2.0]) + shift
    found = accuracies(loss.boundary, real, fake)
    assert {name: value.item() for name, value in found.items()} == {"accuracy_real": 0.75, "accuracy_fake": 0.5}
    several = accuracies(loss.boundary, [real, real[:1]], [fake, fake])
    assert several["accuracy_real"].item() == pytest.approx((0.75 + 0) / 2)


def test_a_critic_has_no_accuracy():
    assert accuracies(Wasserstein().boundary, torch.ones(2), torch.ones(2)) == {}


# Gradients


class Toy(ManualTask):
    """A line and two terms."""

    def __init__(self, **manual: Any):
        super().__init__({"line": partial(torch.optim.SGD, lr=0.1)}, **manual)
        self.line = nn.Linear(2, 1, bias=False)
        self.made = self.configure_optimizers()[1]
        self.counted = 0

    @property
    def global_step(self) -> int:
        return self.counted

    def optimizer(self, name: str) -> torch.optim.Optimizer:
        return self.made

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward()


@pytest.mark.parametrize("clip", [None, 1.0])
def test_an_update_that_is_not_finite_is_skipped_and_counted(clip: float | None):
    task = Toy(gradient_clip_norm=clip, skip_limit=1)
    before = task.line.weight.clone()
    with pytest.warns(UserWarning, match=r"gradient of the line has a norm of nan; its update is skipped \(1 so far"):
        task.update("line", (task.line.weight * float("nan")).sum())
    assert torch.equal(task.line.weight, before)
    task.update("line", task.line.weight.sum())
    assert not torch.equal(task.line.weight, before), "the next update is not poisoned"
    with pytest.raises(FloatingPointError, match=r"1 updates were skipped .*lower the learning rate"):
        task.update("line", (task.line.weight * float("inf")).sum())
    checkpoint: dict[str, Any] = {}
    task.on_save_checkpoint(checkpoint)
    resumed = Toy()
    resumed.on_load_checkpoint(checkpoint)
    assert resumed.skipped_updates == 2


def test_gradient_shares_are_those_of_the_weighted_terms_and_change_no_gradient():
    task = Toy(gradient_shares_interval=2)
    x, y = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])
    terms = {"a": (task.line.weight * x).sum(), "b": (task.line.weight * y).sum(), "c": torch.tensor(1.0)}
    terms["c"] = terms["c"] + 0 * task.line.weight.sum()
    weights = {"a": 2.0, "b": 5.0, "c": 1.0}
    assert task.gradient_shares("line", terms, weights) == {}, "not at this step"
    task.counted = 1
    found = {name: float(value) for name, value in task.gradient_shares("line", terms, weights).items()}
    assert found == pytest.approx({"gradient_share/a": 0.5, "gradient_share/b": 0.5, "gradient_share/c": 0.0})
    assert task.line.weight.grad is None


# In runs


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    make_images(root / "content", 4, seed=1)
    make_images(root / "style", 8, seed=2)
    return root


def given(folders: Path, run_dir: Path) -> list[str]:
    # Several styles are held out, so that the images of a validation can differ.
    data = [f"data.content={folders / 'content'}", f"data.style={folders / 'style'}", "data.validation_fraction=0.5"]
    return [*TINY, *data, f"run_dir={run_dir}"]


def test_a_run_logs_what_monitors_look_at(folders: Path, tmp_path: Path):
    shares = "task.gradient_shares_interval=2"
    scumble_here("train", *given(folders, tmp_path / "run"), "steps=4", shares, cwd=tmp_path)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("accuracy_real", "accuracy_fake", "gradient_norm_ratio", "skipped_updates"):
        assert all(row[f"train/{name}"] for row in rows), name
    shown = [{k: float(v) for k, v in row.items() if k.startswith("train/gradient_share/") and v} for row in rows]
    assert [bool(shares) for shares in shown] == [False, True, False, True]
    assert sum(shown[1].values()) == pytest.approx(1.0, abs=1e-4)
    for name in ("diversity_relu4_1", "frechet_relu4_1", "kernel_relu4_1", "psnr", "ssim", "checkerboard"):
        assert rows[3][f"val/{name}"], name


def test_a_run_of_one_painting_has_not_collapsed(folders: Path, tmp_path: Path):
    painting = make_images(tmp_path / "one", 1)
    options = [f"data.style={painting}", "data.validation_fraction=0.1", "steps=2", "val_every_n_steps=1"]
    result = scumble_here("train", *given(folders, tmp_path / "run"), *options, cwd=tmp_path)
    assert "val/diversity" not in (tmp_path / "run" / "metrics.csv").read_text()
    assert "diversity_collapsed" not in result.stdout + result.stderr


def test_a_monitor_can_stop_a_run_which_keeps_its_last_step(folders: Path, tmp_path: Path):
    stop = "+callbacks.monitors.monitors.mine={_target_: scumble.callbacks.Monitor, metric: train/style, below: 1e9, "
    stop += "patience: 3, action: stop, meaning: ''}"
    scumble_here("train", *given(folders, tmp_path / "run"), "steps=50", stop, cwd=tmp_path)
    assert next(iter(list_checkpoints(tmp_path / "run"))) == 3
    status = read_status(tmp_path / "run")
    assert status is not None
    assert status.state == State.STOPPED
    assert status.reason.startswith("step 3: mine: train/style is")
    assert status.metrics["val/style_distance"] > 0
    assert f"{status.reason}\n" in (tmp_path / "run" / "monitors.txt").read_text()
    again = scumble_here("train", f"run_dir={tmp_path / 'run'}", "resume=true", cwd=tmp_path)
    assert "Stopped already" in again.stdout + again.stderr
    assert next(iter(list_checkpoints(tmp_path / "run"))) == 3


def test_a_run_whose_gradients_are_not_finite_ends_with_what_to_do(folders: Path, tmp_path: Path):
    mad = ["optimizer.optimizers.generator.lr=1e30", "task.skip_limit=2", "steps=50"]
    result = scumble_here("train", *given(folders, tmp_path / "run"), *mad, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "2 updates were skipped for that before (task.skip_limit); lower the learning rate" in result.stderr
    assert "Traceback" not in result.stderr


# scumble evaluate


@pytest.fixture(scope="module")
def run(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("evaluated") / "run"
    scumble_here("train", *given(folders, run_dir), "steps=2", cwd=folders)
    return run_dir


def test_evaluate_measures_a_run_and_writes_what_it_measured(run: Path, tmp_path: Path):
    options = [
        "perceptual_encoder@metrics.perceptual_encoder=random",
        "data.validation_pairs=5",
        "data.validation_size=48",
    ]
    result = scumble_here("evaluate", f"run_dir={run}", *options, cwd=tmp_path)
    report = json.loads((run / "evaluation.json").read_text())
    assert report["checkpoint"] == "step=00000002.ckpt"
    assert report["images"] == 5
    assert report["data"]["validation_size"] == 48
    assert {"psnr", "ssim", "mse", "frechet_relu4_1", "kernel_relu4_1", "diversity_relu4_1"} <= report["metrics"].keys()
    assert f"| psnr | {report['metrics']['psnr']:.5g} |" in result.stdout
    assert "say little" in result.stdout
    again = scumble_here("evaluate", f"run_dir={run}", *options, cwd=tmp_path)
    assert again.stdout == result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["", "deeper"])
def test_evaluate_writes_beside_a_checkpoint_file(run: Path, tmp_path: Path, folder: str):
    (tmp_path / folder).mkdir(exist_ok=True)
    shutil.copy(run / "checkpoints" / "step=00000002.ckpt", tmp_path / folder / "model.ckpt")
    name = str(Path(folder) / "model.ckpt")  # relative, which has no grandparent
    scumble_here("evaluate", f"run_dir={name}", cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["model.ckpt", "model.evaluation.json"]
    report = json.loads((tmp_path / folder / "model.evaluation.json").read_text())
    assert report["checkpoint"] == "model.ckpt"


@pytest.mark.parametrize("words", [["--help"], ["--protocol", "--help"]])
def test_the_help_of_evaluate_leads_to_the_flags_of_protocols(words: list[str], tmp_path: Path):
    shown = scumble_here("evaluate", *words, cwd=tmp_path).stdout
    assert "--protocol FILE" in shown
    assert ("--batch-size" in shown) == (len(words) > 1)


@pytest.mark.gpu
def test_evaluate_measures_on_a_gpu(run: Path, tmp_path: Path):
    scumble_here("evaluate", f"run_dir={run}", "device=cuda", cwd=tmp_path)
    assert json.loads((run / "evaluation.json").read_text())["images"] > 0


def test_evaluate_moves_all_to_its_device(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """There is no device but the CPU here: meta tensors, which cannot be measured, show that one is asked for."""
    result = scumble_here("evaluate", f"run_dir={run}", "device=meta", cwd=tmp_path, check=False)
    assert result.returncode
    assert "meta" in result.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "run_dir"),
        (["run_dir=nowhere"], "no checkpoint nowhere; give a run folder or a .ckpt file"),
        (["run_dir=nowhere", "metrisc=lpips"], "metrisc"),
        (["run_dir=nowhere", "device=gpu"], "device"),
    ],
)
def test_mistakes_of_evaluate_end_in_one_line(overrides: list[str], message: str, tmp_path: Path):
    result = scumble_here("evaluate", *overrides, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
