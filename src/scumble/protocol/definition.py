"""The protocol: a file that fixes every picture, pair, network and seed of an evaluation."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scumble.files import atomic_write

# Changes with the layout of the file and with the meaning of any metric: scores of two versions cannot be compared.
VERSION = 1
# The published evaluations of the field take 20 photographs in 40 styles.
GRID = (20, 40)


class ProtocolError(ValueError):
    """A protocol that cannot be read or made, or whose files are not there as they were."""


class FrozenFile(NamedTuple):
    """A file by what is in it; its name and size only help to find it again."""

    name: str
    sha256: str
    size: int


class FrozenNetwork(NamedTuple):
    """A network by its kind (``vgg19_normalised``, ``squeeze``) and its weight files."""

    kind: str
    files: Mapping[str, FrozenFile]


class Clip(NamedTuple):
    """The frames of a video, in their order; its name, that of their folder, only helps to find it."""

    name: str
    frames: tuple[FrozenFile, ...]


@dataclass(frozen=True)
class Protocol:
    """What is measured, and on what.

    Images are decoded, resized to the shorter side ``size`` (``resize``) and cropped to the square in the middle
    (``crop``). ``pairs`` are indices of ``content`` and ``style``. Each of the ``clips`` is painted in each of the
    ``clip_styles``, indices of ``style``. ``folders`` is where the files were found; like the names of the files it is
    no part of the :attr:`id`.
    """

    size: int
    seed: int
    content: tuple[FrozenFile, ...]
    style: tuple[FrozenFile, ...]
    pairs: tuple[tuple[int, int], ...]
    metrics: tuple[str, ...]
    networks: Mapping[str, FrozenNetwork]
    clips: tuple[Clip, ...] = ()
    clip_styles: tuple[int, ...] = ()
    folders: tuple[str, ...] = ()
    resize: str = "lanczos"
    crop: str = "center"
    version: int = VERSION

    @property
    def id(self) -> str:
        """The SHA-256 of all that decides a score, in canonical JSON."""
        frozen = {
            "version": self.version,
            "size": self.size,
            "resize": self.resize,
            "crop": self.crop,
            "seed": self.seed,
            "content": [file.sha256 for file in self.content],
            "style": [file.sha256 for file in self.style],
            "pairs": self.pairs,
            "metrics": self.metrics,
            "networks": {
                name: [network.kind, {part: file.sha256 for part, file in network.files.items()}]
                for name, network in self.networks.items()
            },
        }
        if self.clips:  # a protocol without any keeps the id that it had before there were clips
            frozen["clips"] = [[frame.sha256 for frame in clip.frames] for clip in self.clips]
            frozen["clip_styles"] = self.clip_styles
        return hashlib.sha256(json.dumps(frozen, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def clip_pairs(self) -> list[tuple[int, int]]:
        """The indices of each clip and each of the styles that it is painted in."""
        return [(clip, style) for clip in range(len(self.clips)) for style in self.clip_styles]

    def pictures(self) -> list[FrozenFile]:
        """The contents, the styles, and the frames of all clips."""
        return [*self.content, *self.style, *(frame for clip in self.clips for frame in clip.frames)]

    def files(self) -> list[FrozenFile]:
        """The weight files of all networks."""
        return [file for network in self.networks.values() for file in network.files.values()]

    def write(self, path: str | Path) -> None:
        """Write the protocol as JSON; its folders are written as seen from the folder of the file."""
        here = Path(path).absolute().parent
        content = asdict(self) | {
            "id": self.id,
            "content": [file._asdict() for file in self.content],
            "style": [file._asdict() for file in self.style],
            "networks": {
                name: {"kind": network.kind, "files": {part: f._asdict() for part, f in network.files.items()}}
                for name, network in self.networks.items()
            },
            "clips": [{"name": clip.name, "frames": [frame._asdict() for frame in clip.frames]} for clip in self.clips],
            "folders": [os.path.relpath(folder, here) for folder in self.folders],
        }
        with atomic_write(path) as file:
            file.write(f"{json.dumps(content, indent=1)}\n".encode())


def read_protocol(path: str | Path) -> Protocol:
    """The protocol of a file.

    Raises: ProtocolError if it is missing, no protocol, of another version, or was changed since it was written.
    """
    path = Path(path)
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise ProtocolError(f"no protocol {path}; make one with scumble protocol create") from None
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{path}: not a protocol ({error})") from error
    if isinstance(found, dict) and found.get("version", VERSION) != VERSION:
        raise ProtocolError(
            f"{path}: of version {found['version']}, this scumble measures by version {VERSION}; "
            "use the scumble that made it, or make a new one with scumble protocol create"
        )
    try:
        protocol = _parse(found, path.absolute().parent)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ProtocolError(f"{path}: not a protocol of scumble ({error!r})") from error
    if protocol.id != found.get("id"):
        raise ProtocolError(
            f"{path}: changed since it was written: its content has the id {protocol.id[:12]}, the file says "
            f"{str(found.get('id'))[:12]}; make a new one with scumble protocol create"
        )
    return protocol


def choose_pairs(content: Sequence[str], style: Sequence[str], wanted: str, seed: int) -> list[tuple[str, str]]:
    """The pairs of a protocol, by the hashes of their images; those of one content follow each other.

    ``wanted`` is ``all`` (every content with every style), ``CxS`` (a grid of C contents with S styles each), ``grid``
    (20x40, or fewer where there are fewer images), or a number N (N different pairs, every image as often as any
    other). The choice depends on the hashes and the seed, not on the names or the order of the files.
    Raises: ProtocolError if there are not so many.
    """
    contents, styles = (shuffled(hashes, seed) for hashes in (content, style))
    most = len(contents) * len(styles)
    if wanted == "all":
        chosen = [(c, s) for c in contents for s in styles]
    elif wanted.isdecimal():
        count = int(wanted)
        if not 1 <= count <= most:
            raise ProtocolError(
                f"--pairs {wanted}: {len(contents)} contents and {len(styles)} styles make 1 to {most} pairs"
            )
        chosen = [_pair(index, contents, styles) for index in range(count)]
    else:
        rows, columns = _grid(wanted, len(contents), len(styles))
        chosen = [(c, s) for c in contents[:rows] for s in styles[:columns]]
    place = {digest: index for index, digest in enumerate(contents)}
    return sorted(chosen, key=lambda pair: place[pair[0]])


def _grid(wanted: str, contents: int, styles: int) -> tuple[int, int]:
    if wanted == "grid":
        return min(GRID[0], contents), min(GRID[1], styles)
    rows, cross, columns = wanted.partition("x")
    if not cross or not rows.isdecimal() or not columns.isdecimal():
        raise ProtocolError(f"--pairs must be all, grid, 20x40 or a number, got {wanted!r}")
    if not 1 <= int(rows) <= contents or not 1 <= int(columns) <= styles:
        raise ProtocolError(f"--pairs {wanted}: there are {contents} contents and {styles} styles")
    return int(rows), int(columns)


def _pair(index: int, contents: Sequence[str], styles: Sequence[str]) -> tuple[str, str]:
    """Two walks in step, which would meet again after their least common multiple; the contents then step aside."""
    aside = index // math.lcm(len(contents), len(styles))
    return contents[(index + aside) % len(contents)], styles[index % len(styles)]


def shuffled(hashes: Sequence[str], seed: int) -> list[str]:
    """Different hashes in an order that only they and the seed decide."""
    return sorted(set(hashes), key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())


def _parse(found: dict[str, Any], here: Path) -> Protocol:
    content, style = (tuple(FrozenFile(**file) for file in found[name]) for name in ("content", "style"))
    pairs = tuple((int(c), int(s)) for c, s in found["pairs"])
    if not pairs or not all(0 <= c < len(content) and 0 <= s < len(style) for c, s in pairs):
        raise ValueError("its pairs are not of its images")
    clips = tuple(
        Clip(clip["name"], tuple(FrozenFile(**frame) for frame in clip["frames"])) for clip in found.get("clips", [])
    )
    clip_styles = tuple(map(int, found.get("clip_styles", [])))
    if not all(0 <= s < len(style) for s in clip_styles):
        raise ValueError("the styles of its clips are not of its images")
    if (found["resize"], found["crop"]) != (Protocol.resize, Protocol.crop):
        raise ValueError(f"it asks for {found['resize']} and {found['crop']}")
    return Protocol(
        size=int(found["size"]),
        seed=int(found["seed"]),
        content=content,
        style=style,
        pairs=pairs,
        metrics=tuple(map(str, found["metrics"])),
        networks={
            name: FrozenNetwork(network["kind"], {part: FrozenFile(**file) for part, file in network["files"].items()})
            for name, network in found["networks"].items()
        },
        clips=clips,
        clip_styles=clip_styles,
        folders=tuple(os.path.normpath(here / folder) for folder in found["folders"]),
    )
