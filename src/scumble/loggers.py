"""Loggers. The x-axis of all of them is the step; a resumed run goes on where its checkpoint was."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from hashlib import sha1
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning.pytorch.loggers as lightning_loggers
import numpy as np
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from scumble.files import atomic_write

Row = dict[str, str]


@runtime_checkable
class LogsPictures(Protocol):
    """A logger that takes pictures."""

    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Log a picture (3, H, W) in [0, 1]."""


class CSVLogger(lightning_loggers.Logger):
    """``metrics.csv`` in the run folder: one row per logged step, one column per metric.

    Lightning's own starts a new file when a run is resumed. This one goes on in the same file, after dropping the rows
    of steps that a killed process had finished after its last checkpoint, so that no step is there twice.
    """

    def __init__(self, run_dir: str | Path):
        super().__init__()
        self.path = Path(run_dir) / "metrics.csv"
        self.rows: list[Row] | None = None

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def start_at(self, step: int) -> None:
        """Keep what was logged up to ``step``."""
        self.rows = []
        if step and self.path.is_file():
            # A row that a kill cut short has no newline; what its cells hold may be cut short as well.
            whole = self.path.read_text().rpartition("\n")[0].splitlines()
            self.rows = [row for row in csv.DictReader(whole) if row["step"].isdigit() and int(row["step"]) <= step]
        self._write_all()

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved config is a file beside the metrics."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert self.rows is not None, "start_at comes first"
        columns = self._columns()
        values = {"step": str(step)} | {name: _shortest(value) for name, value in metrics.items() if name != "epoch"}
        if self.rows and self.rows[-1]["step"] == str(step):  # training and validation of the same step share a row
            self.rows[-1].update(values)
            self._write_all()
            return
        self.rows.append(values)
        if set(values) <= set(columns) and self.path.is_file():
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, columns).writerow(values)
        else:
            self._write_all()

    def _columns(self) -> list[str]:
        return ["step", *sorted({name for row in self.rows or () for name in row} - {"step"})]

    def _write_all(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns())
        writer.writeheader()
        writer.writerows(self.rows or ())
        with atomic_write(self.path) as file:
            file.write(text.getvalue().encode())


class TensorBoardLogger(lightning_loggers.TensorBoardLogger):
    """TensorBoard in ``tensorboard/`` of the run folder."""

    def __init__(self, run_dir: str | Path):
        super().__init__(save_dir=str(run_dir), name="", version="tensorboard")

    @rank_zero_only
    def start_at(self, step: int) -> None:
        """Hide what a killed process had logged after its last checkpoint."""
        self._purge_step = step + 1 if step else None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None and getattr(self, "_purge_step", None) is not None:
            self._kwargs["purge_step"] = self._purge_step
        return super().experiment

    @rank_zero_only
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        self.experiment.add_image(name, picture, step)


class WandbLogger(lightning_loggers.WandbLogger):
    """Weights & Biases, offline unless ``offline=False``: ``wandb sync RUN_DIR/wandb/offline-run-*`` uploads a run.

    The id of the run is a function of the run folder and is kept in it, so that a resumed run is the same run.
    """

    def __init__(
        self,
        run_dir: str | Path,
        project: str = "scumble",
        offline: bool = True,
        group: str | None = None,
        name: str | None = None,
        tags: list[str] | None = None,
    ):
        folder = Path(run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            name=name or folder.name,
            save_dir=str(folder),
            project=project,
            offline=offline,
            id=_persistent_id(folder),
            group=group,
            tags=tags,
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Lightning leaves the step to wandb, which starts at 0 again in a resumed offline run."""
        self.experiment.log({name: value for name, value in metrics.items() if name != "epoch"}, step=step)

    @rank_zero_only
    def add_tag(self, tag: str) -> None:
        """Tag the run, besides the tags that it has."""
        self.experiment.tags = tuple(dict.fromkeys((*(self.experiment.tags or ()), tag)))

    @rank_zero_only
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        import wandb

        from scumble.images import to_uint8

        image = wandb.Image(to_uint8(picture).permute(1, 2, 0).numpy(), file_type="png")
        self.experiment.log({name: image}, step=step)


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same float32: metrics are float32, and 0.1 is not 0.10000000149."""
    return str(np.float32(value))


def _persistent_id(folder: Path) -> str:
    path = folder / "wandb_id"
    if path.is_file():
        return path.read_text().strip()
    identity = sha1(f"{folder.resolve()} {folder.stat().st_ctime_ns}".encode()).hexdigest()[:12]
    with atomic_write(path) as file:
        file.write(identity.encode())
    return identity
