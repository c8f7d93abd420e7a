"""What a few steps cost: time and memory, for an estimate of a whole run."""

import json
import resource
import statistics
import time
from pathlib import Path

import lightning as L
import torch

from scumble.files import atomic_write


class Stopwatch(L.Callback):
    """Writes into ``path``, when training ends, what it cost: seconds, and bytes of memory at the peak.

    For a run whose first checkpoint comes half-way, at least at its fourth step, and its only validation, with another
    checkpoint, at its end. ``start`` are the seconds before the first step, ``step`` those of a step (the median of
    all but the first two), ``validation`` and ``checkpoint`` those of one of them. ``memory`` is that of this process,
    without its data workers; ``gpu_memory`` is what torch has reserved.
    """

    def __init__(self, path: str | Path):
        self.path, self.made = Path(path), time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.begins: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        self.begins.append(self._now(pl_module))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        end = self._now(pl_module)
        half = len(self.begins) // 2
        steps = [after - before for before, after in zip(self.begins, self.begins[1:], strict=False)]
        step = statistics.median([*steps[2 : half - 1], *steps[half:]])
        checkpoint = max(0.0, steps[half - 1] - step)
        costs = {
            "start": self.begins[0] - self.made,
            "step": step,
            "validation": max(0.0, end - self.begins[-1] - step - checkpoint),
            "checkpoint": checkpoint,
            "total": end - self.made,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "gpu_memory": torch.cuda.max_memory_reserved() if pl_module.device.type == "cuda" else 0,
        }
        with atomic_write(self.path) as file:
            file.write(json.dumps(costs, indent=2).encode())

    def _now(self, pl_module: L.LightningModule) -> float:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)  # else the time of a step would be that of asking for it
        return time.monotonic()
