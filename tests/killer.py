"""A callback that ends the process at a chosen moment, as a crash or a scheduler would."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L


class Kill(L.Callback):
    """Sends a signal to its own process in ``hook`` of a step."""

    def __init__(self, hook: str, step: int, signum: int = signal.SIGKILL):
        def send(trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step == step:
                os.kill(os.getpid(), signum)

        setattr(self, hook, send)


class KillAll(Kill):
    """Sends the signal to the children of its process first, as SLURM does."""

    def __init__(self, hook: str, step: int, signum: int = signal.SIGKILL):
        super().__init__(hook, step, signum)
        send = getattr(self, hook)

        def send_to_all(trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step == step:
                for children in Path("/proc/self/task").glob("*/children"):
                    for child in children.read_text().split():
                        os.kill(int(child), signum)
                time.sleep(1)
            send(trainer, *args)

        setattr(self, hook, send_to_all)


class KillOnce(Kill):
    """Kills one rank, when torchrun has started it for the first time."""

    def __init__(self, hook: str, step: int, rank: int):
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == str(rank):
            super().__init__(hook, step)
