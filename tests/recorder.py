"""Callbacks for the tests of several ranks: which images a rank has seen, and what it has sent to the others."""

from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, distributed


class SeenImages(L.Callback):
    """Appends a line for each image of each training batch to `FOLDER/RANK.txt`: step and mean of the image."""

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict[str, Tensor], *args: Any
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{trainer.global_rank}.txt").open("a") as file:
            for image in batch["content"]:
                file.write(f"{trainer.global_step} {float(image.mean())}\n")


class Traffic(L.Callback):
    """Writes for each step how many numbers each all-reduce has averaged, largest first, and the sizes of G and D."""

    def __init__(self, file: str):
        self.file = Path(file)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        sizes = [sum(p.numel() for p in pl_module.trained_by(name)) for name in ("generator", "discriminator")]  # type: ignore[operator]
        self.lines = [sizes]
        self.real, self.sent = distributed.all_reduce, Counter[int]()

        def counted(tensor: Tensor, *args: Any, **options: Any) -> Any:
            self.sent[tensor.numel()] += 1
            return self.real(tensor, *args, **options)

        distributed.all_reduce = torch.distributed.all_reduce = counted

    def on_train_batch_end(self, *args: Any) -> None:
        self.lines.append(sorted(self.sent.elements(), reverse=True))
        self.sent.clear()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        torch.distributed.all_reduce = self.real
        if trainer.is_global_zero:
            self.file.write_text("\n".join(" ".join(map(str, line)) for line in self.lines))
