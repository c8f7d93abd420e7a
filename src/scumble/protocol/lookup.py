"""Finding the files of a protocol by what is in them, whatever they are called now."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scumble.networks.weights import WEIGHTS_FOLDER
from scumble.protocol.definition import FrozenFile, ProtocolError


def freeze(path: Path, name: str) -> FrozenFile:
    """A file as a protocol holds it."""
    return FrozenFile(name, file_hash(path), path.stat().st_size)


def file_hash(path: Path) -> str:
    """The SHA-256 of what is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_files(wanted: Sequence[FrozenFile], folders: Iterable[str | Path]) -> dict[str, Path]:
    """Where the wanted files are below the folders, by their SHA-256; a file may stand in place of a folder.

    Only files of a wanted size are hashed, those with the wanted name first. What ships with scumble is always found.
    Raises: ProtocolError that names the files which are missing, or have changed.
    """
    roots = [*dict.fromkeys(map(Path, folders)), WEIGHTS_FOLDER]
    by_size: dict[int, list[Path]] = {}
    named: dict[str, list[Path]] = {}
    for path in _files(roots):
        by_size.setdefault(path.stat().st_size, []).append(path)
        named.setdefault(path.name, []).append(path)
    hashes: dict[Path, str] = {}
    found: dict[str, Path] = {}
    for file in wanted:
        for path in sorted(by_size.get(file.size, ()), key=lambda path: path.name != Path(file.name).name):
            if path not in hashes:
                hashes[path] = file_hash(path)
            if hashes[path] == file.sha256:
                found[file.sha256] = path
                break
    if lost := [file for file in dict.fromkeys(wanted) if file.sha256 not in found]:
        raise ProtocolError(_complaint(lost, named, roots[:-1]))
    return found


def _files(roots: Iterable[Path]) -> Iterator[Path]:
    """The files below the roots; links are followed, a folder that they lead to twice is entered once."""
    entered = set()
    for root in roots:
        if root.is_file():
            yield root
        for folder, subfolders, names in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            subfolders[:] = [] if real in entered else sorted(subfolders)
            if real not in entered:
                entered.add(real)
                yield from (path for name in sorted(names) if (path := Path(folder, name)).is_file())


def _complaint(lost: Sequence[FrozenFile], named: dict[str, list[Path]], roots: Sequence[Path]) -> str:
    shown = []
    for file in lost[:5]:
        # A frame of another clip may have the same name, in another folder.
        parts = Path(file.name).parts
        others = [path for path in named.get(parts[-1], ()) if path.parts[-len(parts) :] == parts]
        reason = f"changed, {others[0]} has other content" if others else f"missing (SHA-256 {file.sha256[:12]}...)"
        shown.append(f"  {file.name}: {reason}")
    shown += [f"  and {len(lost) - 5} more"] if len(lost) > 5 else []
    searched = ", ".join(map(str, roots)) or "no folder"
    return (
        f"{len(lost)} files of the protocol are not in {searched}; give the folders where they are with --files\n"
        + "\n".join(shown)
    )
