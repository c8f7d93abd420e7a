"""Callbacks: what happens around training. Each does one thing and can be left out of a config."""

from scumble.callbacks.checkpoints import Checkpoints
from scumble.callbacks.encoder import ExportEncoder
from scumble.callbacks.metrics import Metrics
from scumble.callbacks.monitors import Monitor, Monitors
from scumble.callbacks.picture_grid import PictureGrid
from scumble.callbacks.preemption import Preemption
from scumble.callbacks.progress import StepProgressBar
from scumble.callbacks.report import Report
from scumble.callbacks.stopwatch import Stopwatch

__all__ = [
    "Checkpoints",
    "ExportEncoder",
    "Metrics",
    "Monitor",
    "Monitors",
    "PictureGrid",
    "Preemption",
    "Report",
    "StepProgressBar",
    "Stopwatch",
]
