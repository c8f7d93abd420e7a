"""A callback that ends the process at a chosen moment, as a crash or a scheduler would."""

import os
import signal
from typing import Any

import lightning as L


class Kill(L.Callback):
    """Sends a signal to its own process in ``hook`` of a step."""

    def __init__(self, hook: str, step: int, signum: int = signal.SIGKILL):
        def send(trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step == step:
                os.kill(os.getpid(), signum)

        setattr(self, hook, send)
