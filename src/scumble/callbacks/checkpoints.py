"""Checkpoints by steps, with retention."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from scumble.checkpoint import checkpoint_path, list_checkpoints


class Checkpoints(L.Callback):
    """Writes a checkpoint every ``every_n_steps`` steps, at the last step and before a stop; the ``keep`` newest stay.

    At least two are kept, so that a damaged one always has one before it.
    """

    def __init__(self, run_dir: str | Path, every_n_steps: int, keep: int = 2):
        if every_n_steps < 1 or keep < 2:
            raise ValueError(
                f"checkpoints need every_n_steps of at least 1 and keep of at least 2, got {every_n_steps} and {keep}"
            )
        self.run_dir, self.every_n_steps, self.keep = Path(run_dir), every_n_steps, keep

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if step % self.every_n_steps == 0 or step == trainer.max_steps or trainer.should_stop:
            trainer.save_checkpoint(checkpoint_path(self.run_dir, step))
            self._remove_old()

    @rank_zero_only
    def _remove_old(self) -> None:
        for path in list(list_checkpoints(self.run_dir).values())[self.keep :]:
            path.unlink(missing_ok=True)
