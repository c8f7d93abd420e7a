"""The grid of fixed validation pairs, which tells more about a run than its numbers do."""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor

from scumble.distributed import gather_objects
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
        self.batches: dict[int, dict[str, Tensor]] = {}  # the columns of validation batches, by their number

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.batches = {}

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        number = batch_idx * trainer.world_size + trainer.global_rank
        if isinstance(pl_module, ShowsPictures) and number * len(next(iter(batch.values()))) < self.rows:
            columns = pl_module.pictures(batch).items()
            self.batches[number] = {label: pictures.float().cpu() for label, pictures in columns}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        batches = {number: batch for rank in gather_objects(self.batches) for number, batch in rank.items()}
        if not trainer.is_global_zero or not batches:
            return
        step = trainer.global_step
        columns = {
            label: torch.cat([batches[number][label] for number in sorted(batches)])[: self.rows]
            for label in next(iter(batches.values()))
        }
        rows, labels = list(zip(*columns.values(), strict=True)), list(columns)
        picture = grid(rows, labels)
        cells = json.dumps({"columns": labels, "rows": grid_boxes(rows, labels)})
        write_image(picture, picture_path(self.run_dir, step), text={"scumble": cells})
        for logger in trainer.loggers:
            if isinstance(logger, LogsPictures):
                logger.log_picture(PICTURES, picture, step)
