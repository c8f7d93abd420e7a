"""Public image sets that torchvision can download; nothing is fetched unless ``download`` is set."""

from collections.abc import Callable
from pathlib import Path

from scumble.cache import cache_directory
from scumble.data.folders import Folders, find_images
from scumble.data.sources import Split


class Imagenette:
    """Photographs: Imagenette, ten easy classes of ImageNet, 9,469 for training and 3,925 for validation.

    ``root`` holds, or will hold, the folder ``imagenette2-<size>``; ``size`` is 160px or 320px.
    """

    def __init__(self, root: str | Path | None = None, size: str = "160px", download: bool = False):
        if size not in ("160px", "320px"):
            raise ValueError(f"data.content.size must be 160px or 320px, got {size!r}")
        self.root, self.size, self.download = Path(root or cache_directory()), size, download
        self.folder = self.root / f"imagenette2-{size.removesuffix('px')}"

    def prepare(self) -> None:
        def fetch() -> None:
            from torchvision import datasets

            datasets.Imagenette(str(self.root), split="train", size=self.size, download=True)

        _prepare(self.folder, self.download, fetch, "data.content", "Imagenette (94 MB at 160px, 326 MB at 320px)")

    def split(self) -> Split:
        return Split(find_images([self.folder / "train"]), find_images([self.folder / "val"]), {})


class DescribableTextures:
    """Textures as styles: the Describable Textures Dataset, 5,640 images of 47 kinds."""

    def __init__(self, root: str | Path | None = None, validation_fraction: float = 0.1, download: bool = False):
        self.root, self.download = Path(root or cache_directory()), download
        self.folder = self.root / "dtd" / "dtd" / "images"
        self.files = Folders(self.folder, validation_fraction=validation_fraction, name="data.style")

    def prepare(self) -> None:
        def fetch() -> None:
            from torchvision.datasets import DTD

            DTD(str(self.root), download=True)

        _prepare(self.folder, self.download, fetch, "data.style", "the Describable Textures Dataset (597 MB)")

    def split(self) -> Split:
        return self.files.split()


def _prepare(folder: Path, download: bool, fetch: Callable[[], None], key: str, what: str) -> None:
    if folder.is_dir():
        return
    if not download:
        raise FileNotFoundError(
            f"no folder {folder}; set {key}.download=true to fetch {what}, or {key}.root=DIR to where it is"
        )
    try:
        fetch()
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"cannot fetch {what}: {error}. Fetch it elsewhere and set {key}.root=DIR to the folder that holds "
            f"{folder.name}, or train on your own images with data.content=FOLDER data.style=FOLDER"
        ) from error
