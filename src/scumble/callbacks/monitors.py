"""Monitors: GANs fail quietly, so somebody has to look at the numbers that show it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L

from scumble.files import atomic_write

log = logging.getLogger(__name__)

Action = Literal["warn", "tag", "stop"]
ACTIONS: tuple[Action, ...] = ("warn", "tag", "stop")


@dataclass
class Monitor:
    """One number that should stay within bounds.

    When ``metric`` has been above ``above`` or below ``below`` in ``patience`` looks in a row, the monitor fires:
    ``warn`` says so; ``tag`` also tags the run in its loggers and in ``monitors.txt``; ``stop`` also ends the run.
    ``meaning`` says what it is a sign of, and what helps.
    """

    metric: str
    meaning: str
    above: float | None = None
    below: float | None = None
    patience: int = 1
    action: Action = "warn"

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"the action of a monitor must be one of {', '.join(ACTIONS)}, got {self.action!r}")
        if self.above is None and self.below is None:
            raise ValueError(f"the monitor of {self.metric} needs a bound: above, below or both")
        if self.patience < 1:
            raise ValueError(f"the patience of a monitor must be at least 1, got {self.patience}")

    def is_outside(self, value: float) -> bool:
        """Whether the value is out of bounds; NaN always is."""
        inside = (self.above is None or value <= self.above) and (self.below is None or value >= self.below)
        return not inside


class Monitors(L.Callback):
    """Looks at training metrics at every log step and at validation metrics at every validation.

    A monitor fires once, and again only after its metric was within its bounds. How long metrics have been outside is
    in the checkpoints. ``stopped`` is what the first monitor said that ended the run, empty if none did.
    """

    def __init__(self, run_dir: str | Path, monitors: dict[str, Monitor | None]):
        self.path = Path(run_dir) / "monitors.txt"
        self.monitors = {name: monitor for name, monitor in monitors.items() if monitor is not None}
        self.outside = dict.fromkeys(self.monitors, 0)
        self.stopped = ""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._look(trainer, "train/")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._look(trainer, "val/")

    def _look(self, trainer: L.Trainer, prefix: str) -> None:
        for name, monitor in self.monitors.items():
            value = trainer.callback_metrics.get(monitor.metric)
            if value is None or not monitor.metric.startswith(prefix):
                continue
            self.outside[name] = self.outside[name] + 1 if monitor.is_outside(float(value)) else 0
            if self.outside[name] == monitor.patience:
                self._fire(trainer, name, monitor, float(value))

    def _fire(self, trainer: L.Trainer, name: str, monitor: Monitor, value: float) -> None:
        line = f"step {trainer.global_step}: {name}: {monitor.metric} is {value:.4g}. {monitor.meaning}"
        if trainer.is_global_zero:
            log.warning(line)
            if monitor.action != "warn":
                self._tag(trainer, name, line)
        if monitor.action == "stop":  # all ranks have the same metrics
            trainer.should_stop = True
            self.stopped = self.stopped or line

    def _tag(self, trainer: L.Trainer, name: str, line: str) -> None:
        before = self.path.read_text() if self.path.is_file() else ""
        with atomic_write(self.path) as file:
            file.write(f"{before}{line}\n".encode())
        for logger in trainer.loggers:
            if hasattr(logger, "add_tag"):
                logger.add_tag(name)

    def state_dict(self) -> dict[str, Any]:
        return {"outside": dict(self.outside)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.outside |= {name: count for name, count in state_dict["outside"].items() if name in self.outside}
