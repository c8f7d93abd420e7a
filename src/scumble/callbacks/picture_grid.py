"""The grid of fixed validation pairs, which shows how a run goes better than its numbers."""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
from torch import Tensor

from scumble.images import grid, grid_boxes, write_image
from scumble.loggers import LogsPictures
from scumble.loggers.pictures import PICTURES, picture_path


@runtime_checkable
class ShowsPictures(Protocol):
    """A task that shows what it does."""

    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of the grid: images (B, 3, H, W) by their caption."""


class PictureGrid(L.Callback):
    """Writes ``grids/step=N.png`` at every validation and gives it to the loggers that take pictures.

    One row per validation pair, ``rows`` of them; the columns are what the task's ``pictures(batch)`` returns. The text
    chunk ``scumble`` of the file says where they are: ``{"columns": [CAPTION], "rows": [[[left, top, width,
    height]]]}``.
    """

    def __init__(self, run_dir: str | Path, rows: int = 8):
        self.run_dir, self.rows = run_dir, rows
        self.columns: dict[str, list[Tensor]] = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.columns = {}

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        shown = len(next(iter(self.columns.values()), []))
        if not trainer.is_global_zero or shown >= self.rows or not isinstance(pl_module, ShowsPictures):
            return
        for label, pictures in pl_module.pictures(batch).items():
            self.columns.setdefault(label, []).extend(pictures.float().cpu()[: self.rows - shown])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not self.columns:
            return
        step = trainer.global_step
        rows, labels = list(zip(*self.columns.values(), strict=True)), list(self.columns)
        picture = grid(rows, labels)
        cells = json.dumps({"columns": labels, "rows": grid_boxes(rows, labels)})
        write_image(picture, picture_path(self.run_dir, step), text={"scumble": cells})
        for logger in trainer.loggers:
            if isinstance(logger, LogsPictures):
                logger.log_picture(PICTURES, picture, step)
