"""Checkpoints by steps and by time, with retention."""

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from scumble.checkpoint import checkpoint_path, list_checkpoints


class Checkpoints(L.Callback):
    """Writes a checkpoint every ``every_n_steps`` steps, at the last step and before a stop; the ``keep`` newest stay.

    One is also written when ``every_minutes`` have passed since the last. A checkpoint of a step with a validation is
    written after it: a resume from there does not validate again, so the metrics of that step would be lost with a
    process that was killed between the two. At least two are kept, so that a damaged one always has one before it.
    """

    def __init__(self, run_dir: str | Path, every_n_steps: int, every_minutes: float | None = None, keep: int = 2):
        if every_n_steps < 1 or keep < 2:
            raise ValueError(
                f"checkpoints need every_n_steps of at least 1 and keep of at least 2, got {every_n_steps} and {keep}"
            )
        if every_minutes is not None and every_minutes <= 0:
            raise ValueError(f"checkpoints need every_minutes of more than 0, or null, got {every_minutes}")
        self.run_dir, self.every_n_steps, self.keep = Path(run_dir), every_n_steps, keep
        self.every_minutes = every_minutes
        self.is_due = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.written, self.last_time = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        self.is_due = (
            step % self.every_n_steps == 0 or step == trainer.max_steps or trainer.should_stop or self._is_time(trainer)
        )
        if self.is_due and not is_followed_by_validation(trainer):
            self.write(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.is_due and not trainer.sanity_checking:
            self.write(trainer)

    def write(self, trainer: L.Trainer) -> None:
        """Write the checkpoint of this step, if it is not there, and remove the oldest."""
        self.is_due = False
        if self.written == trainer.global_step:
            return
        path = checkpoint_path(self.run_dir, trainer.global_step)
        trainer.save_checkpoint(path)
        for logger in trainer.loggers:
            if hasattr(logger, "log_checkpoint"):
                logger.log_checkpoint(path, trainer.global_step)
        self.written, self.last_time = trainer.global_step, time.monotonic()
        self._remove_old()

    def _is_time(self, trainer: L.Trainer) -> bool:
        """Whether ``every_minutes`` have passed on the first rank: clocks differ, and all ranks write together."""
        if self.every_minutes is None or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        is_time = time.monotonic() - self.last_time >= 60 * self.every_minutes
        return bool(trainer.strategy.broadcast(is_time))

    @rank_zero_only
    def _remove_old(self) -> None:
        for path in list(list_checkpoints(self.run_dir).values())[self.keep :]:
            path.unlink(missing_ok=True)


def is_followed_by_validation(trainer: L.Trainer) -> bool:
    """Whether Lightning validates after the step that is ending."""
    due = not trainer.global_step % (trainer.val_check_batch or math.inf) or trainer.should_stop
    return bool(trainer.enable_validation) and due
