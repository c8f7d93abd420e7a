"""The metrics of ``scumble evaluate``, of the validation set, during training."""

from typing import Any

import lightning as L

from scumble.metrics.images import HasResults, ImageMetrics


class Metrics(L.Callback):
    """Logs ``val/NAME`` for every metric that the task's images allow; see :class:`scumble.metrics.ImageMetrics`."""

    def __init__(self, metrics: ImageMetrics):
        self.metrics = metrics

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.metrics.to(pl_module.device).reset()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        if isinstance(pl_module, HasResults):
            self.metrics.update_from(pl_module, batch)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, value in self.metrics.compute().items():
            pl_module.log(f"val/{name}", value, rank_zero_only=True)  # torchmetrics has gathered it from all ranks
