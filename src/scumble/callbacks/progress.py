"""The progress bar."""

import os
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar


class StepProgressBar(TQDMProgressBar):
    """A bar of the steps of the whole run, with the losses; Lightning's counts the batches of an endless epoch.

    tqdm's own variable ``TQDM_DISABLE=1`` hides it, which Lightning's bar does not know.
    """

    def __init__(self) -> None:
        super().__init__()
        if os.environ.get("TQDM_DISABLE"):
            self.disable()

    def on_train_start(self, trainer: L.Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        bar = self.train_progress_bar
        bar.reset(total=trainer.max_steps)
        bar.n = bar.initial = trainer.global_step
        bar.set_description("Training")

    def on_train_epoch_start(self, *args: Any) -> None:
        """Nothing: the run has one endless epoch, and Lightning would restart the bar."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        bar = self.train_progress_bar
        if self.is_enabled and self._should_update(trainer.global_step, bar.total):
            bar.n = trainer.global_step
            bar.set_postfix(self.get_metrics(trainer, pl_module))

    def on_exception(self, *args: Any) -> None:
        """Close the bar, so that what is said of the end stands on a line below it."""
        if self._train_progress_bar is not None:
            self.train_progress_bar.close()

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}
