import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scumble.loggers import CSVLogger, LogsPictures, TensorBoardLogger, WandbLogger


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def values(run_dir: Path, name: str) -> dict[int, float]:
    return {int(row["step"]): float(row[name]) for row in rows(run_dir) if row[name]}


def logger(run_dir: Path, start: int = 0) -> CSVLogger:
    made = CSVLogger(run_dir)
    made.start_at(start)
    return made


def logged(run_dir: Path, steps: range, start: int = 0) -> None:
    made = logger(run_dir, start)
    for step in steps:
        made.log_metrics({"train/style": step / 8, "epoch": 0}, step)


# metrics.csv


def test_there_is_a_row_per_step_and_a_column_per_metric(tmp_path: Path):
    made = logger(tmp_path)
    made.log_metrics({"train/style": 0.5, "train/content": torch.tensor(0.25), "epoch": 0}, 1)  # type: ignore[dict-item]
    made.log_metrics({"train/style": 0.125, "train/content": 2.0}, 2)
    assert rows(tmp_path) == [
        {"step": "1", "train/content": "0.25", "train/style": "0.5"},
        {"step": "2", "train/content": "2.0", "train/style": "0.125"},
    ]


def test_validation_shares_the_row_of_its_step_and_adds_its_columns(tmp_path: Path):
    made = logger(tmp_path)
    made.log_metrics({"train/style": 1.0}, 1)
    made.log_metrics({"train/style": 2.0}, 2)
    made.log_metrics({"val/style_distance": 3.0}, 2)
    made.log_metrics({"train/style": 4.0}, 3)
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert values(tmp_path, "train/style") == {1: 1.0, 2: 2.0, 3: 4.0}
    assert values(tmp_path, "val/style_distance") == {2: 3.0}


def test_every_row_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path):
    made = logger(tmp_path)
    for step in range(1, 5):
        made.log_metrics({"train/style": float(step)}, step)
        assert values(tmp_path, "train/style") == {k: float(k) for k in range(1, step + 1)}
        assert (tmp_path / "metrics.csv").read_bytes().endswith(b"\n")


def test_numbers_are_not_rounded_beyond_float32(tmp_path: Path):
    made = logger(tmp_path)
    third, tiny = torch.tensor(1 / 3).item(), torch.tensor(1.2345678e-20).item()
    made.log_metrics({"third": third, "tiny": tiny, "none": float("nan")}, 1)
    (row,) = rows(tmp_path)
    assert torch.tensor(float(row["third"])).item() == third
    assert torch.tensor(float(row["tiny"])).item() == tiny
    assert row["none"] == "nan"


def test_a_new_run_starts_a_new_file(tmp_path: Path):
    logged(tmp_path, range(1, 4))
    logged(tmp_path, range(1, 2))
    assert values(tmp_path, "train/style") == {1: 1 / 8}


def test_a_resumed_run_goes_on_in_the_file_without_steps_that_come_again(tmp_path: Path):
    logged(tmp_path, range(1, 8))
    logged(tmp_path, range(6, 9), start=5)
    assert values(tmp_path, "train/style") == {step: step / 8 for step in range(1, 9)}
    assert [int(row["step"]) for row in rows(tmp_path)] == list(range(1, 9))


def test_a_resumed_run_may_log_other_metrics(tmp_path: Path):
    logged(tmp_path, range(1, 4))
    made = logger(tmp_path, start=3)
    made.log_metrics({"train/cycle": 1.5}, 4)
    assert values(tmp_path, "train/style") == {1: 1 / 8, 2: 2 / 8, 3: 3 / 8}
    assert values(tmp_path, "train/cycle") == {4: 1.5}


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_torn_last_line_is_dropped(cut: int, tmp_path: Path):
    """A run that is killed while it writes, resumed at its checkpoint of step 10."""
    made = logger(tmp_path)
    for step in (9, 10, 123):
        made.log_metrics({"train/content": 1.5, "train/style": 1234.5}, step)
    path = tmp_path / "metrics.csv"
    whole = path.read_bytes()
    lines = whole.rstrip().rsplit(b"\n", 1)
    path.write_bytes(lines[0] + b"\n" + lines[1][:cut])
    made = logger(tmp_path, start=10)
    made.log_metrics({"train/content": 2.5, "train/style": 2.0}, 11)
    assert [row["step"] for row in rows(tmp_path)] == ["9", "10", "11"]
    assert values(tmp_path, "train/style") == {9: 1234.5, 10: 1234.5, 11: 2.0}


def test_a_resumed_run_without_its_file_starts_one(tmp_path: Path):
    logged(tmp_path, range(6, 8), start=5)
    assert values(tmp_path, "train/style") == {6: 6 / 8, 7: 7 / 8}


# Weights & Biases


def wandb_logger(run_dir: Path, **options: object) -> WandbLogger:
    return WandbLogger(run_dir, **options)  # type: ignore[arg-type]


def test_wandb_is_offline_unless_told_otherwise(tmp_path: Path):
    assert wandb_logger(tmp_path)._offline
    assert not wandb_logger(tmp_path, offline=False)._offline


def test_a_resumed_run_keeps_its_wandb_id_and_other_runs_have_others(tmp_path: Path):
    first, again, other = (wandb_logger(tmp_path / name) for name in ("a", "a", "b"))
    assert first.version == again.version == (tmp_path / "a" / "wandb_id").read_text()
    assert other.version != first.version
    assert first.version.isalnum()


def test_a_run_that_is_made_again_in_the_same_place_is_another_run(tmp_path: Path):
    import shutil

    first = wandb_logger(tmp_path / "a").version
    shutil.rmtree(tmp_path / "a")
    assert wandb_logger(tmp_path / "a").version != first


class Experiment:
    """What a wandb run is to its logger."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, object], int]] = []

    def log(self, metrics: dict[str, object], step: int) -> None:
        self.calls.append((metrics, step))


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    made = Experiment()
    monkeypatch.setattr(WandbLogger, "experiment", property(lambda self: made))
    return made


def test_wandb_is_told_the_step(experiment: Experiment, tmp_path: Path):
    wandb_logger(tmp_path).log_metrics({"train/style": 1.0, "epoch": 0}, step=12)
    assert experiment.calls == [({"train/style": 1.0}, 12)]


def test_wandb_takes_pictures(experiment: Experiment, tmp_path: Path):
    made = wandb_logger(tmp_path)
    assert isinstance(made, LogsPictures)
    picture = torch.zeros(3, 4, 6)
    picture[0] = 1
    made.log_picture("pictures", picture, step=5)
    ((media, step),) = experiment.calls
    image = media["pictures"].image  # type: ignore[attr-defined]
    assert (step, image.size, image.getpixel((0, 0))) == (5, (6, 4), (255, 0, 0))


def test_only_loggers_that_take_pictures_say_so(tmp_path: Path):
    assert isinstance(TensorBoardLogger(tmp_path), LogsPictures)
    assert not isinstance(CSVLogger(tmp_path), LogsPictures)


# TensorBoard


def scalars(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_tensorboard_hides_steps_that_come_again(tmp_path: Path):
    for start, steps in ((0, range(1, 8)), (5, range(6, 9))):
        made = TensorBoardLogger(tmp_path)
        made.start_at(start)
        for step in steps:
            made.log_metrics({"train/style": step / 8}, step)
        made.log_picture("pictures", picture(), steps[-1])
        made.finalize("success")
    assert scalars(tmp_path, "train/style") == [(step, step / 8) for step in range(1, 9)]


def picture() -> Tensor:
    return torch.rand(3, 4, 4)
