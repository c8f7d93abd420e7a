"""TensorBoard."""

from pathlib import Path
from typing import Any

import lightning.pytorch.loggers as lightning_loggers
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor


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
