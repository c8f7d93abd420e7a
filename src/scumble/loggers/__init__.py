"""Loggers. The x-axis of all of them is the step; a resumed run continues at the step of its checkpoint."""

from scumble.loggers.csv_file import CSVLogger
from scumble.loggers.pictures import LogsPictures
from scumble.loggers.tensorboard import TensorBoardLogger
from scumble.loggers.wandb_run import WandbLogger

__all__ = ["CSVLogger", "LogsPictures", "TensorBoardLogger", "WandbLogger"]
