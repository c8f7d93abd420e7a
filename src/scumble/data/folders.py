"""Folders of images as a source: every file is checked once, and split by what is in it."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from scumble.cache import cache_directory
from scumble.data.sources import Split
from scumble.files import atomic_write
from scumble.images import IMAGE_SUFFIXES, ImageError, read_image

log = logging.getLogger(__name__)

# Decoding releases the interpreter's lock; on more threads the disk is what limits the scan.
_THREADS = 4


def find_images(folders: str | Path | Sequence[str | Path], name: str = "data.content") -> list[Path]:
    """The image files in one or more folders and all their subfolders, each once.

    The order does not depend on the machine: by folder as given, then by the path within it. Hidden files and folders
    are left out, links are followed. A file may stand in place of a folder. ``name`` is what errors tell the user to
    set.

    Raises: FileNotFoundError for a folder that is missing; ValueError if there is no image at all.
    """
    roots = _roots(folders)
    images = list(dict.fromkeys(image for root in roots for image in _images_below(root, name)))
    if not images:
        searched = ", ".join(map(str, roots)) or "no folder"
        raise ValueError(f"no images in {searched}: files must end in {', '.join(IMAGE_SUFFIXES)}; set {name}")
    return images


class Folders:
    """An :class:`ImageSource`: the images of one or more folders, split by the hash of each file's bytes.

    An image stays on its side of the split when others are added, and copies of an image are on the same side. Only
    if a side would be empty while there are two different images, one image changes sides: the one with the smallest
    hash becomes validation, or the one with the largest becomes training.

    Files that cannot be used are left out, with a warning, or with ``strict`` end the run. Files that passed are
    remembered in the cache, by path, size and time of change, and not decoded again. ``name`` is the config key that
    errors tell the user to set.
    """

    def __init__(
        self,
        folders: str | Path | Sequence[str | Path],
        validation_fraction: float = 0.1,
        minimum_side: int = 16,
        strict: bool = False,
        name: str = "data.content",
    ) -> None:
        if not 0 <= validation_fraction <= 1:
            raise ValueError(f"validation_fraction must be from 0 to 1, got {validation_fraction}")
        self.folders = folders
        self.validation_fraction = validation_fraction
        self.minimum_side = minimum_side
        self.strict = strict
        self.name = name

    @property
    def place(self) -> str:
        """The folders, as the user gave them."""
        return ", ".join(map(str, _roots(self.folders)))

    def prepare(self) -> None:
        """Nothing: the files are there already."""

    def split(self) -> Split:
        """The images of each split, in the order of :func:`find_images`, and the files that cannot be used.

        Raises: as :func:`find_images`; ImageError if no file can be used or, with ``strict``, if any cannot.
        """
        digests, skipped = self._check(find_images(self.folders, self.name))
        if skipped:
            self._report(skipped, len(digests))
        chosen = _chosen_for_validation(set(digests.values()), self.validation_fraction)
        return Split(
            train=[path for path, digest in digests.items() if digest not in chosen],
            validation=[path for path, digest in digests.items() if digest in chosen],
            skipped=skipped,
        )

    def _check(self, paths: list[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
        """The SHA-256 of each usable file, and the reason against each other file.

        Only what passed is remembered: a file that failed may be made readable without a trace in its size or time.
        """
        index = _Index(_roots(self.folders), self.minimum_side)

        def check(path: Path) -> tuple[str | None, str]:
            try:
                digest = index.get(path)
                if digest is None:
                    # At a small size a JPEG is decoded quickly, but still to its last byte.
                    read_image(path, shorter_side=16, minimum_side=self.minimum_side)
                    digest = index.add(path)
                return digest, ""
            except ImageError as error:
                return None, str(error).removeprefix(f"{path}: ")
            except OSError as error:
                return None, f"{error.strerror}; check the path and its permissions"

        log.info("checking %d files of %s", len(paths), self.name)
        with ThreadPoolExecutor(_THREADS) as threads:
            checked = dict(zip(paths, threads.map(check, paths), strict=True))
        index.save()
        digests = {path: digest for path, (digest, _) in checked.items() if digest is not None}
        return digests, {path: reason for path, (digest, reason) in checked.items() if digest is None}

    def _report(self, skipped: dict[Path, str], usable: int) -> None:
        """Say which files cannot be used: an error if that ends the run, else a warning."""
        total = len(skipped) + usable
        shown = 10 if self.strict else 3
        lines = [f"  {path}: {reason}" for path, reason in list(skipped.items())[:shown]]
        lines += [f"  and {len(skipped) - shown} more"] if len(skipped) > shown else []
        details = "\n".join(lines)
        if not usable:
            raise ImageError(f"none of the {total} files of {self.name} can be used; set another folder\n{details}")
        if self.strict:
            raise ImageError(
                f"{len(skipped)} of {total} files of {self.name} cannot be used; "
                f"repair or remove them, or set strict=false to leave them out\n{details}"
            )
        log.warning("%d of %d files of %s are left out\n%s", len(skipped), total, self.name, details)


class _State(NamedTuple):
    """What must be unchanged for a check to hold."""

    size: int
    modified_ns: int
    minimum_side: int


class _Index:
    """The SHA-256 of the files that passed their check, remembered in the cache for the next run.

    One file for each choice of folders, so that runs on other data do not overwrite each other's.
    """

    def __init__(self, roots: list[Path], minimum_side: int) -> None:
        names = "\n".join(os.path.abspath(root) for root in roots)
        name = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16]
        self.file = cache_directory() / "checked_images" / f"{name}.json"
        self.minimum_side = minimum_side
        self._known = self._load()
        self._current: dict[str, tuple[_State, str]] = {}

    def get(self, path: Path) -> str | None:
        """The hash of a file that passed earlier and has not changed since."""
        entry = self._known.get(os.path.abspath(path))
        if entry is None or entry[0] != self._state(path):
            return None
        self._current[os.path.abspath(path)] = entry
        return entry[1]

    def add(self, path: Path) -> str:
        """The hash of a file that has just passed."""
        state = self._state(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._current[os.path.abspath(path)] = (state, digest)
        return digest

    def save(self) -> None:
        """Write what has changed; a cache that cannot be written costs the next run time, not this one its data."""
        if self._current == self._known:
            return
        try:
            with atomic_write(self.file) as file:
                file.write(json.dumps(self._current).encode())
        except OSError as error:
            log.warning("the images will be checked again next time: %s; set SCUMBLE_CACHE", error)

    def _load(self) -> dict[str, tuple[_State, str]]:
        """What an earlier run wrote; nothing if it is missing or damaged."""
        try:
            entries = json.loads(self.file.read_bytes())
            return {path: (_State(*state), str(digest)) for path, (state, digest) in entries.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _state(self, path: Path) -> _State:
        status = path.stat()
        return _State(status.st_size, status.st_mtime_ns, self.minimum_side)


def _roots(folders: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(folder).expanduser() for folder in ([folders] if isinstance(folders, str | Path) else folders)]


def _images_below(root: Path, name: str) -> list[Path]:
    """The images in a folder and its subfolders, sorted by their path within it; a file itself."""
    if root.is_file():
        return [root]
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist{_similar(root)}; set {name} to a folder of images")
    return sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())


def _walk(root: Path) -> Iterator[Path]:
    """The images below a folder; a folder that links lead to twice is entered once."""
    entered = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_warn):
        real = os.path.realpath(folder)
        # Sorted, so that of two links to a folder every machine enters the same one.
        subfolders[:] = [] if real in entered else sorted(sub for sub in subfolders if not sub.startswith("."))
        if real in entered:
            continue
        entered.add(real)
        for file in files:
            path = Path(folder, file)
            if not file.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES and not _is_special(path):
                yield path


def _is_special(path: Path) -> bool:
    """Whether reading a path could wait forever: a pipe, a socket or a device. (A broken link is to be reported.)"""
    return os.path.exists(path) and not os.path.isfile(path)


def _warn(error: OSError) -> None:
    log.warning("a folder is left out: %s", error)


def _similar(missing: Path) -> str:
    """Names like the missing one beside it, or the last folder of its path that exists."""
    if not missing.parent.is_dir():
        existing = next((folder for folder in missing.absolute().parents if folder.is_dir()), None)
        return f" (the path exists up to {existing})"
    siblings = [entry.name for entry in missing.parent.iterdir() if entry.is_dir()]
    matches = get_close_matches(missing.name, siblings, n=3)
    return f" (did you mean {' or '.join(str(missing.with_name(match)) for match in matches)}?)" if matches else ""


def _chosen_for_validation(digests: set[str], fraction: float) -> set[str]:
    """The hashes in the first ``fraction`` of all hashes; neither none nor all of them if that can be avoided."""
    chosen = {digest for digest in digests if int(digest[:8], 16) / 2**32 < fraction}
    if 0 < fraction < 1 and len(digests) > 1:
        chosen = chosen or {min(digests)}
        chosen = chosen - {max(digests)} if chosen == digests else chosen
    return chosen
