"""``metrics.csv``, the record of a run's numbers that is there whatever else logs them."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch.loggers as lightning_loggers
import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from scumble.files import atomic_write

Row = dict[str, str]


class CSVLogger(lightning_loggers.Logger):
    """``metrics.csv`` in the run folder: one row per logged step, one column per metric.

    Lightning's own starts a new file when a run is resumed. This one continues the same file, after dropping the rows
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


def read_metrics(run_dir: str | Path) -> dict[int, dict[str, float]]:
    """The metrics of a run by step, as its ``metrics.csv`` has them, to the bit; none if it has no such file."""
    path = Path(run_dir) / "metrics.csv"
    if not path.is_file():
        return {}
    whole = path.read_text().rpartition("\n")[0].splitlines()
    return {
        int(row.pop("step")): {name: float(np.float32(value)) for name, value in row.items() if value}
        for row in csv.DictReader(whole)
    }


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same float32: metrics are float32, and 0.1 is not 0.10000000149."""
    return str(np.float32(value))
