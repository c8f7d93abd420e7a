"""The pictures of a run by their step: the files in its folder, and the loggers that take them."""

import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

# One name in all runs, so that a dashboard shows the pictures of several runs under one slider.
PICTURES = "pictures"
_NAME = re.compile(r"step=(\d+)\.png")


@runtime_checkable
class LogsPictures(Protocol):
    """A logger that takes pictures."""

    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Log a picture (3, H, W) in [0, 1]."""


def picture_path(run_dir: str | Path, step: int) -> Path:
    """Where the grid of pictures of a run after ``step`` steps is."""
    return Path(run_dir) / "grids" / f"step={step:08d}.png"


def list_pictures(run_dir: str | Path) -> dict[int, Path]:
    """The grids of pictures of a run by step, the oldest first."""
    files = (Path(run_dir) / "grids").glob("*.png")
    return dict(sorted((int(match[1]), path) for path in files if (match := _NAME.fullmatch(path.name))))
