import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scumble.loggers import CSVLogger, LogsPictures, TensorBoardLogger
from scumble.loggers.csv_file import read_metrics


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


def test_metrics_are_read_back_to_the_bit(tmp_path: Path):
    assert read_metrics(tmp_path) == {}
    made, third = logger(tmp_path), torch.tensor(1 / 3).item()
    made.log_metrics({"train/style": third}, 1)
    made.log_metrics({"val/psnr": 20.5}, 2)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3,0.1")  # a kill cut it short
    assert read_metrics(tmp_path) == {1: {"train/style": third}, 2: {"val/psnr": 20.5}}


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


# TensorBoard


def test_only_loggers_that_take_pictures_say_so(tmp_path: Path):
    assert isinstance(TensorBoardLogger(tmp_path), LogsPictures)
    assert not isinstance(CSVLogger(tmp_path), LogsPictures)


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
