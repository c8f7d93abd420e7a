"""The report of a run: what it was trained on, what was left out, and what it reached."""

import time
from pathlib import Path

import lightning as L
import torch

from scumble.data.sources import Split
from scumble.environment import device_name
from scumble.files import atomic_write


class Report(L.Callback):
    """Writes ``report.md`` into the run folder: the data with every skipped file, the speed, the last metrics."""

    def __init__(self, run_dir: str | Path):
        self.path = Path(run_dir) / "report.md"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started, self.first_step = time.monotonic(), trainer.global_step
        self._write(trainer, "running")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._write(trainer, "finished" if trainer.global_step >= trainer.max_steps else "stopped")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "started"):
            reason = f"{type(exception).__name__}: {exception}".removesuffix(": ")
            self._write(trainer, f"ended by {reason}")

    def _write(self, trainer: L.Trainer, state: str) -> None:
        if not trainer.is_global_zero:
            return
        seconds = time.monotonic() - self.started
        steps = trainer.global_step - self.first_step
        lines = [
            f"# {self.path.parent.name}",
            "",
            f"- state: {state}, step {trainer.global_step} of {trainer.max_steps}",
        ]
        if steps:
            lines.append(f"- speed: {steps / seconds:.2f} steps per second, validation included ({seconds:.0f} s)")
        machine = device_name(trainer.strategy.root_device)
        lines.append(f"- machine: {machine}, torch {torch.__version__}, {torch.get_num_threads()} threads")
        lines += ["", "## Data", ""]
        for name, split in getattr(trainer.datamodule, "splits", {}).items():  # type: ignore[attr-defined]
            lines += _data(name, split)
        lines += ["", "## Last metrics", "", "| metric | value |", "| --- | --- |"]
        lines += [f"| {name} | {float(value):.5g} |" for name, value in sorted(trainer.callback_metrics.items())]
        with atomic_write(self.path) as file:
            file.write("\n".join([*lines, ""]).encode())


def _data(name: str, split: Split) -> list[str]:
    counts = f"{len(split.train)} training and {len(split.validation)} validation images"
    skipped = [f"  - skipped {path}: {reason}" for path, reason in split.skipped.items()]
    return [f"- {name}: {counts}, {len(split.skipped)} files skipped", *skipped]
