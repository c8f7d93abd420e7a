"""Handwritten digits with their labels: scikit-learn's, which need no download, or MNIST's."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scumble.cache import cache_directory
from scumble.data.module import Batch, EndlessData
from scumble.data.singles import Single, SingleBatches
from scumble.data.walk import EndlessBatches
from scumble.images import resize, to_float
from scumble.seeding import VALIDATION, mix

Array = npt.NDArray[np.uint8]

_UNSIGNED_BYTES = 0x08
_MAXIMUM_BYTES = 2**30
_MNIST_MEGABYTES = 12


class Digits(EndlessData):
    """Batches ``{"image": (B, 1, image_size, image_size), "label": (B,)}``: images in [0, 1], labels 0 to 9 in int64.

    Without ``root`` and ``download`` they are the 1,797 digits of 8x8 pixels that scikit-learn ships. ``root`` is a
    folder with MNIST's IDX files, as they are or with gzip: the training files, the t10k files or both. ``download``
    fetches them through torchvision, into ``root`` or the cache.

    With both sets of MNIST the t10k digits are for validation; else a fixed random ``validation_fraction`` of the
    digits is. Validation looks at the first ``validation_images`` of those.
    Raises: FileNotFoundError, or ValueError for files that are torn or no digits.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        download: bool = False,
        image_size: int = 28,
        validation_fraction: float = 0.1,
        validation_images: int = 256,
        **loaders: Any,
    ):
        super().__init__(**loaders)
        if image_size < 2:
            raise ValueError(f"data.image_size must be at least 2, got {image_size}")
        if not 0 < validation_fraction < 1:
            raise ValueError(f"data.validation_fraction must be between 0 and 1, got {validation_fraction}")
        if validation_images < 1:
            raise ValueError(f"data.validation_images must be at least 1, got {validation_images}")
        self.root = Path(root).expanduser() if root is not None else cache_directory() if download else None
        self.download, self.image_size = download, image_size
        self.validation_fraction, self.validation_images = validation_fraction, validation_images
        self.training_digits: LabelledImages | None = None
        self.validation_digits: LabelledImages | None = None

    def prepare_data(self) -> None:
        if self.download and self.root is not None and not find_mnist(self.root):
            fetch_mnist(self.root)

    def setup(self, stage: str | None = None) -> None:
        if self.training_digits is not None:
            return
        sets = [scikit_learn_digits()] if self.root is None else read_mnist(self.root)
        if len(sets) == 1:
            images, labels = sets[0]
            order = np.random.default_rng(mix(VALIDATION, len(images))).permutation(len(images))
            held_out = round(self.validation_fraction * len(images))
            parts = [np.sort(order[held_out:]), np.sort(order[:held_out])]
            if not all(len(part) for part in parts):
                raise ValueError(f"{len(images)} digits are too few for data.validation_fraction of "
                                 f"{self.validation_fraction}; give more digits")  # fmt: skip
            sets = [(images[part], labels[part]) for part in parts]
        (images, labels), (held_out_images, held_out_labels) = sets
        count = self.validation_images
        self.training_digits = LabelledImages(images, labels, self.image_size)
        self.validation_digits = LabelledImages(held_out_images[:count], held_out_labels[:count], self.image_size)

    def compute_fingerprint(self) -> str:
        """By the pixels and labels."""
        assert self.training_digits is not None
        known = hashlib.sha256(self.training_digits.images.tobytes())
        known.update(self.training_digits.labels.tobytes())
        return known.hexdigest()[:16]

    def training_set(self) -> tuple[Dataset[Batch], type[EndlessBatches[Any]], dict[str, int]]:
        assert self.training_digits is not None
        return self.training_digits, SingleBatches, {"images": len(self.training_digits)}

    def validation_set(self) -> Dataset[Batch]:
        assert self.validation_digits is not None
        return self.validation_digits


class LabelledImages(Dataset[Batch]):
    """Gray images with labels, by index or by :class:`Single`, resized to ``image_size``."""

    def __init__(self, images: Array, labels: Array, image_size: int):
        self.images, self.labels, self.image_size = images, labels, image_size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, sample: Single | int) -> Batch:
        index = sample.image if isinstance(sample, Single) else sample
        image: Tensor = to_float(torch.from_numpy(self.images[index])[None])
        if image.shape[1:] != (self.image_size, self.image_size):
            image = resize(image, (self.image_size, self.image_size))
        return {"image": image, "label": torch.tensor(int(self.labels[index]))}


def scikit_learn_digits() -> tuple[Array, Array]:
    """Images (1797, 8, 8) in uint8 and their labels (1797,)."""
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.uint8)


def find_mnist(root: Path) -> dict[str, tuple[Path, Path]]:
    """The files of images and of labels of each set (``train``, ``t10k``) in a folder, or in its ``MNIST/raw``.

    Raises: FileNotFoundError if there are images without labels, or labels without images.
    """
    found = {}
    for name in ("train", "t10k"):
        images, labels = _file(root, f"{name}-images", 3), _file(root, f"{name}-labels", 1)
        if images is not None and labels is not None:
            found[name] = (images, labels)
        elif images is not None or labels is not None:
            there, missing = (images, "labels-idx1") if images is not None else (labels, "images-idx3")
            raise FileNotFoundError(f"{there} is there without {name}-{missing}-ubyte; put both files into the folder")
    return found


def read_mnist(root: Path) -> list[tuple[Array, Array]]:
    """Images (N, H, W) and labels (N,) of each set in a folder, the training set first.

    Raises: FileNotFoundError if the folder holds none; ValueError for files that are torn or no digits.
    """
    found = find_mnist(root)
    if not found:
        raise FileNotFoundError(
            f"no MNIST in {root}: it must hold train-images-idx3-ubyte and train-labels-idx1-ubyte, or the same of "
            "t10k, as they are or with .gz; set data.root, set data.download=true to fetch them, or leave both out for "
            "scikit-learn's digits"
        )
    sets = []
    for image_file, label_file in found.values():
        images, labels = read_idx(image_file), read_idx(label_file)
        if images.ndim != 3 or labels.ndim != 1 or not images.size:
            raise ValueError(
                f"{image_file} and {label_file} must hold images (N, H, W) and labels (N,), got {images.shape} and "
                f"{labels.shape}; set data.root to a folder with MNIST's files"
            )
        if len(images) != len(labels):
            raise ValueError(f"{image_file} has {len(images)} images and {label_file} {len(labels)} labels; fetch both")
        if labels.max() > 9:
            raise ValueError(
                f"{label_file} has a label {labels.max()}, digits are 0 to 9; set data.root to MNIST's files"
            )
        sets.append((images, labels))
    return sets


def read_idx(path: Path) -> Array:
    """The array of unsigned bytes in an IDX file, with or without gzip.

    The format: two zero bytes, the type, the number of dimensions, each dimension in 32 bits, most significant byte
    first, then the data. Source: http://yann.lecun.com/exdb/mnist.
    Raises: ValueError for a file that is torn, too long, or of another format.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zeros, kind, dimensions = struct.unpack(">HBB", _read(file, 4, path))
            if zeros or kind != _UNSIGNED_BYTES or not 1 <= dimensions <= 3:
                raise ValueError(f"{path}: no IDX file of unsigned bytes in 1 to 3 dimensions; fetch it again")
            shape = struct.unpack(f">{dimensions}I", _read(file, 4 * dimensions, path))
            size = int(np.prod(shape, dtype=object))
            if size > _MAXIMUM_BYTES:
                raise ValueError(f"{path}: says that it holds {size:,} bytes, at most {_MAXIMUM_BYTES:,} are read")
            data = _read(file, size, path)
            if file.read(1):
                raise ValueError(f"{path}: longer than the {size:,} bytes of its shape {shape}; fetch it again")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: torn or no gzip file ({error}); fetch it again") from error
    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def fetch_mnist(root: Path) -> None:
    """Download MNIST through torchvision to ``root/MNIST/raw``. Raises: OSError that says what to do instead."""
    from torchvision.datasets import MNIST

    try:
        MNIST(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"cannot fetch MNIST ({_MNIST_MEGABYTES} MB): {error}. Get its IDX files elsewhere and set data.root=DIR, "
            "or leave data.download out for scikit-learn's digits"
        ) from error


def _file(root: Path, stem: str, dimensions: int) -> Path | None:
    """An IDX file by its usual names, in the folder or where torchvision puts it."""
    names: Sequence[str] = [f"{stem}{joint}idx{dimensions}-ubyte{end}" for joint in "-." for end in ("", ".gz")]
    candidates = [folder / name for folder in (root, root / "MNIST" / "raw") for name in names]
    return next((path for path in candidates if path.is_file()), None)


def _read(file: Any, count: int, path: Path) -> bytes:
    data: bytes = file.read(count)
    if len(data) != count:
        raise ValueError(f"{path}: torn, {count:,} bytes were expected where {len(data):,} are left; fetch it again")
    return data
