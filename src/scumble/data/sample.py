"""The bundled sample set, made without a network: photographs out of installed wheels, and paintings of our own.

scikit-image and scikit-learn ship a few colour photographs. Six of them are cut into overlapping crops for training,
three others are kept whole for validation; the painter paints noise and the training photographs.
"""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

import torch

from scumble.cache import cache_directory
from scumble.data.painter import MANNERS, PAINTER_VERSION, check_manner, paint
from scumble.data.sources import Split
from scumble.images import read_image, resize, to_float, write_image
from scumble.seeding import PAINTER, mix

log = logging.getLogger(__name__)

# How a training photograph is cut: windows of a share of its sides, on a square lattice of so many positions.
_WIDE, _CLOSE, _DETAILS = (1.0, 1), (0.75, 2), (0.55, 3)
TRAINING_PHOTOGRAPHS: dict[str, tuple[tuple[float, int], ...]] = {
    "skimage/data/astronaut.png": (_WIDE, _CLOSE, _DETAILS),
    "skimage/data/chelsea.png": (_WIDE, (0.85, 2), (0.75, 3)),
    "sklearn/datasets/images/china.jpg": (_WIDE, _CLOSE, _DETAILS),
    "skimage/data/motorcycle_left.png": (_WIDE, _CLOSE, _DETAILS),
    "skimage/data/hubble_deep_field.jpg": (_WIDE, (0.5, 2)),
    "skimage/data/ihc.png": (_WIDE, (0.6, 2)),
}
VALIDATION_PHOTOGRAPHS = (
    "skimage/data/coffee.png",
    "skimage/data/rocket.jpg",
    "sklearn/datasets/images/flower.jpg",
)
# The training photographs that show things, and not only a texture, are worth painting.
SUBJECTS = tuple(TRAINING_PHOTOGRAPHS)[:4]

PHOTOGRAPHS_VERSION = 1
PHOTOGRAPH_SIDE = 320


class SamplePhotographs:
    """Crops of the photographs that scikit-image and scikit-learn ship, as PNG files in the cache.

    The shorter side of each has at most 320 pixels. ``cache_dir`` replaces :func:`scumble.cache.cache_directory`.
    ``photographs`` are some of the training photographs, by the names of their files without the ending, for two sets
    that show different things.

    Raises: ValueError for a photograph that is not one of them.
    """

    def __init__(self, cache_dir: str | Path | None = None, photographs: Sequence[str] | None = None) -> None:
        known = {Path(name).stem: name for name in TRAINING_PHOTOGRAPHS}
        for name in photographs or ():
            if name not in known:
                raise ValueError(f"unknown photograph {name!r}; choose some of {', '.join(known)}")
        self.photographs = [known[name] for name in (known if photographs is None else photographs)]
        self.folder = _folder(cache_dir, "photographs", PHOTOGRAPHS_VERSION, PHOTOGRAPH_SIDE)

    def prepare(self) -> None:
        """Write the crops that are missing. Raises: FileNotFoundError if a wheel lacks its photograph."""
        _make(self._train() | self._validation(), "cutting photographs")

    def split(self) -> Split:
        """The crops for training and the whole photographs for validation, which show other things."""
        return _existing(list(self._train()), list(self._validation()))

    def _train(self) -> dict[Path, Callable[[Path], None]]:
        """How to make each file of the training split."""
        return {
            self.folder / "train" / f"{Path(name).stem}-{number:02}.png": partial(_cut, name, window)
            for name in self.photographs
            for number, window in enumerate(_windows(TRAINING_PHOTOGRAPHS[name]))
        }

    def _validation(self) -> dict[Path, Callable[[Path], None]]:
        """How to make each file of the validation split."""
        return {
            self.folder / "validation" / f"{Path(name).stem}.png": partial(_cut, name, (0.0, 0.0, 1.0))
            for name in VALIDATION_PHOTOGRAPHS
        }


class SamplePaintings:
    """Paintings of noise and of the training photographs, in turn, in every manner, as PNG files in the cache.

    ``manners`` are some of ``scumble.data.painter.MANNERS``; ``per_manner`` and ``validation_per_manner`` count the
    paintings in each. A picture depends on the painter's version, its manner, its number, ``size`` and ``seed`` alone,
    so a larger set holds the smaller one. ``cache_dir`` replaces :func:`scumble.cache.cache_directory`.

    Raises: ValueError for an unknown manner, and for a size or a number of paintings that is too small.
    """

    def __init__(
        self,
        size: int = 256,
        per_manner: int = 12,
        seed: int = 0,
        cache_dir: str | Path | None = None,
        manners: Sequence[str] | None = None,
        validation_per_manner: int = 2,
    ) -> None:
        if per_manner < 1 or validation_per_manner < 0:
            raise ValueError(
                "per_manner must be at least 1 painting and validation_per_manner at least 0, "
                f"got {per_manner} and {validation_per_manner}"
            )
        if size < 32:
            raise ValueError(f"size must be at least 32 pixels, got {size}: strokes would be finer than a pixel")
        self.manners = tuple(MANNERS if manners is None else manners)
        for manner in self.manners:
            check_manner(manner)
        self.size, self.seed = size, seed
        self.per_manner, self.validation_per_manner = per_manner, validation_per_manner
        self.folder = _folder(cache_dir, "paintings", PAINTER_VERSION, size, seed)

    def prepare(self) -> None:
        """Paint what is missing, on all cores. It may be killed, and may run several times at once."""
        _make(self._paintings("train", self.per_manner) | self._validation(), "painting")

    def split(self) -> Split:
        """The paintings for training, and others of the same manners for validation."""
        return _existing(list(self._paintings("train", self.per_manner)), list(self._validation()))

    def _validation(self) -> dict[Path, Callable[[Path], None]]:
        """How to paint each file of the validation split."""
        return self._paintings("validation", self.validation_per_manner)

    def _paintings(self, split: str, count: int) -> dict[Path, Callable[[Path], None]]:
        """How to paint each file of a split: even numbers show noise, odd ones a photograph."""
        return {
            self.folder / split / f"{manner}-{number:03}.png": partial(
                _paint,
                manner,
                SUBJECTS[number // 2 % len(SUBJECTS)] if number % 2 else None,
                self.size,
                mix(self.seed, PAINTER, crc32(f"{split}/{manner}".encode()), number),
            )
            for manner in self.manners
            for number in range(count)
        }


def _folder(cache_dir: str | Path | None, name: str, *parameters: int) -> Path:
    """A folder of the cache that no other parameters share."""
    root = cache_directory() if cache_dir is None else Path(cache_dir).expanduser()
    return root / f"{name}-{blake2b(repr(parameters).encode(), digest_size=6).hexdigest()}"


def _make(files: dict[Path, Callable[[Path], None]], verb: str) -> None:
    """Make the files that do not exist. Threads are enough: the painter spends its time outside Python's lock."""
    missing = [path for path in files if not path.exists()]
    if not missing:
        return
    log.info("%s %d pictures into %s", verb, len(missing), missing[0].parents[1])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        # Another process may have made a file since: then there is nothing to do.
        pending = [pool.submit(lambda path: path.exists() or files[path](path), path) for path in missing]
        try:
            for done, future in enumerate(as_completed(pending), 1):
                future.result()
                if done % 25 == 0:
                    log.info("%s: %d of %d", verb, done, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)


def _existing(train: list[Path], validation: list[Path]) -> Split:
    """The split. Raises: FileNotFoundError if it has not been prepared."""
    missing = [path for path in train + validation if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{missing[0]} and {len(missing) - 1} others are missing: call prepare() first")
    return Split(sorted(train), sorted(validation), {})


def photograph_path(name: str) -> Path:
    """The path of a file in an installed package, ``package/folder/file``, without importing the package."""
    package = name.split("/")[0]
    spec = find_spec(package)
    path = Path(spec.origin).parent.parent / name if spec is not None and spec.origin else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; its wheel ships it: reinstall the package that holds {package}")
    return path


def _windows(lattices: tuple[tuple[float, int], ...]) -> list[tuple[float, float, float]]:
    """The windows (top, left, share) of lattices (share, positions along each side), as shares of a picture."""
    windows = []
    for share, positions in lattices:
        places = [(1 - share) * i / max(positions - 1, 1) for i in range(positions)]
        windows += [(top, left, share) for top in places for left in places]
    return windows


def _cut(name: str, window: tuple[float, float, float], target: Path) -> None:
    """Write one window of a photograph."""
    photograph = read_image(photograph_path(name))
    height, width = photograph.shape[1:]
    top, left, share = window
    rows = slice(round(top * height), round((top + share) * height))
    columns = slice(round(left * width), round((left + share) * width))
    crop = photograph[:, rows, columns]
    scale = min(1.0, PHOTOGRAPH_SIDE / min(crop.shape[1:]))
    write_image(resize(to_float(crop), (round(crop.shape[1] * scale), round(crop.shape[2] * scale))), target)


def _paint(manner: str, photograph: str | None, size: int, seed: int, target: Path) -> None:
    """Write one painting."""
    subject = None
    if photograph is not None:
        subject = to_float(read_image(photograph_path(photograph))).permute(1, 2, 0).numpy()
    write_image(torch.from_numpy(paint(manner, subject, size, seed)).permute(2, 0, 1), target)
