"""The product of a distillation: the encoder alone, as a file of weights."""

from pathlib import Path

import lightning as L
from safetensors.torch import save

from scumble.files import atomic_write
from scumble.tasks.distillation import Distillation, encoder_state


class ExportEncoder(L.Callback):
    """Writes ``encoder.safetensors`` into the run folder when training ends: the student without its heads.

    ``perceptual_encoder.weights`` and ``task.student.weights`` take the file.
    Raises: ValueError if the task is not a distillation.
    """

    def __init__(self, run_dir: str | Path):
        self.path = Path(run_dir) / "encoder.safetensors"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, Distillation):
            raise ValueError(
                f"callbacks.encoder exports the encoder of a distillation, and the task is a "
                f"{type(pl_module).__name__}; set callbacks.encoder=null"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and isinstance(pl_module, Distillation):
            state = {name: tensor.cpu() for name, tensor in encoder_state(pl_module)}
            with atomic_write(self.path) as file:
                file.write(save(state))
            print(f"The encoder is in {self.path}")
