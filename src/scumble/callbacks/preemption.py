"""Preemption: a scheduler's signal becomes a checkpoint at the next step."""

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import lightning as L
import torch

from scumble.callbacks.checkpoints import Checkpoints, is_followed_by_validation

Handler = Callable[[int, FrameType | None], Any] | int | None

# SIGTERM: kill, scancel, a preempting job. SIGUSR2: submitit's notice that the time of a job ends.
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class Preempted(BaseException):
    """The run was told to give way, and its checkpoint is written. Not an Exception: nobody should go on after it."""

    def __init__(self, signum: int, before: Handler):
        super().__init__(f"preempted by {signal.Signals(signum).name}")
        self.signum, self.before = signum, before

    def give_way(self) -> NoReturn:
        """End the process in the way that its scheduler expects, so that the run is requeued or simply ends.

        submitit's own handler requeues the job and exits. Under SLURM a job that exits in its grace time counts as
        failed and is not requeued, so it waits for the kill. Elsewhere the exit status is that of the signal.
        """
        if self.signum == signal.SIGUSR2 and callable(self.before):
            self.before(self.signum, None)
        if "SLURM_JOB_ID" in os.environ:
            print("The checkpoint is written; waiting for SLURM to end the job.", flush=True)
            time.sleep(3600)
        sys.exit(128 + self.signum)


class Preemption(L.Callback):
    """The one owner of the signals that ask a run to give way.

    The handler only sets a flag: what runs in a handler runs in the middle of a step. At the end of the step, and of
    the validation if one follows, all ranks agree on the flag, write the checkpoint together, and leave with
    :class:`Preempted`. A second signal changes nothing. Data workers ignore these signals. It comes after all callbacks
    that write something about a step.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.before: dict[int, Handler] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        found = [callback for callback in callbacks if isinstance(callback, Checkpoints)]
        if not found:
            raise ValueError(
                "callbacks.preemption writes no checkpoint of its own; set callbacks.preemption=null as well"
            )
        self.checkpoints = found[0]
        for signum in SIGNALS:
            try:
                self.before[signum] = signal.signal(signum, self._remember)
            except ValueError:  # only the main thread may; a run in another has no signals to own
                return

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if not is_followed_by_validation(trainer):
            self._leave_if_told(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._leave_if_told(trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        while self.before:
            signum, handler = self.before.popitem()
            signal.signal(signum, handler)

    def _leave_if_told(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        told = self.received or 0
        if trainer.world_size > 1:
            told = int(trainer.strategy.reduce(torch.tensor(told, device=pl_module.device), reduce_op="max"))
        if told:
            self.checkpoints.write(trainer)
            trainer.strategy.barrier()
            raise Preempted(told, self.before.get(told))

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
