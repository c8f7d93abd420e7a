"""Train, sweep and compare GANs that repaint a photograph in the style of a painting and keep its content.

Runs that are on disk already: :func:`load_run` and :func:`load_sweep`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scumble.comparison.runs import Run, Sweep


def load_run(path: str | Path) -> "Run":
    """The run in a folder: its config, metrics, scores and pictures, and a list of what is missing of it.

    Raises: FileNotFoundError if there is no such folder.
    """
    from scumble.comparison import runs

    return runs.load_run(path)


def load_sweep(*paths: str | Path) -> "Sweep":
    """The runs in the folders of sweeps, and those that are named themselves; ``.to_dataframe()`` is their table.

    Raises: FileNotFoundError for a folder that is not there, ValueError for one that holds no run.
    """
    from scumble.comparison import runs

    return runs.load_sweep(*paths)
