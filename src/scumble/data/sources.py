"""Where images come from: anything that can name the files of its training and validation split."""

from pathlib import Path
from typing import NamedTuple, Protocol


class Split(NamedTuple):
    """The readable images of a source, and the files that were left out with the reason."""

    train: list[Path]
    validation: list[Path]
    skipped: dict[Path, str]


class ImageSource(Protocol):
    """A set of images that a config can name."""

    def prepare(self) -> None:
        """Put the files on disk (paint, download). Runs on one process per node; doing it twice costs nothing."""

    def split(self) -> Split:
        """The files of each split, in an order that does not depend on the machine."""
