"""Train, sweep and compare GANs that repaint a photograph in the style of a painting and keep its content.

A model: :func:`load`. Runs that are on disk already: :func:`load_run` and :func:`load_sweep`. Nothing heavy is
imported before one of them is called.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scumble.comparison.runs import Run, Sweep
    from scumble.stylizer import Stylizer


def load(model: str | Path = "shipped", *, trust: Sequence[str] = (), device: str = "cpu") -> "Stylizer":
    """A model that stylizes: ``scumble.load().stylize("photo.jpg", "painting.jpg", strength=0.7).save("out.png")``.

    ``model`` is the painter that ships with scumble, a run folder, a checkpoint, or the YAML file of a generator.
    ``trust`` names further packages whose classes the config of a run may name.
    Raises: CheckpointError if there is no such model; UntrustedConfigError.
    """
    from scumble.checkpoint import load_generator
    from scumble.stylizer import Stylizer

    return Stylizer(load_generator(model, trust), device)


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
