"""Clips of a protocol: how they are frozen, and how much what is painted of them flickers."""

import math
import os
import re
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track

from scumble.data.folders import find_images
from scumble.images import read_image
from scumble.metrics.video import Motion, warping_error
from scumble.protocol.definition import Clip, ProtocolError
from scumble.protocol.lookup import freeze
from scumble.protocol.painters import Painter
from scumble.protocol.references import References, prepare


class Flicker(NamedTuple):
    """The warping error of a clip, the mean over its frames but the first: as it is painted, and of itself.

    NaN if a painted frame is not finite, or if no frame shows anything of the one before.
    """

    stylized: float
    content: float


def freeze_clips(folders: Sequence[str | Path], size: int) -> tuple[Clip, ...]:
    """The clips in some folders, one in each; the frames are in the natural order of their names (2 before 10).

    Raises: ProtocolError for a folder without two frames or with folders of frames in it, frames that differ in size,
    or two that go by one name; ImageError for a frame that cannot be read.
    """
    clips = tuple(_freeze_clip(Path(os.path.abspath(folder)), size) for folder in folders)
    names = [clip.name for clip in clips]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ProtocolError(f"--clip: two clips are called {twice[0]}; give each folder a name of its own")
    return clips


def _freeze_clip(folder: Path, size: int) -> Clip:
    if not folder.is_dir():
        raise ProtocolError(f"--clip {folder}: must be a folder of frames; ffmpeg -i VIDEO FOLDER/%04d.png makes one")
    paths = sorted(find_images(folder, "--clip"), key=lambda path: _natural(path.name))
    if deeper := [path for path in paths if path.parent != folder]:
        raise ProtocolError(f"--clip {folder}: a clip is one folder, and {deeper[0]} is in another; name that one")
    if len(paths) < 2:
        raise ProtocolError(f"--clip {folder}: has {len(paths)} frame, a clip needs at least 2")
    stems = [path.stem for path in paths]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise ProtocolError(f"--clip {folder}: two frames are called {twice[0]}; rename or remove one")
    sides: dict[tuple[int, ...], Path] = {}
    for path in paths:
        sides.setdefault(read_image(path).shape[:0:-1], path)
        prepare(path, size)
    if len(sides) > 1:
        listed = ", ".join(f"{path.name} {'x'.join(map(str, side))}" for side, path in list(sides.items())[:2])
        raise ProtocolError(f"--clip {folder}: its frames have several sizes ({listed}); make them one")
    return Clip(folder.name, tuple(freeze(path, f"{folder.name}/{path.name}") for path in paths))


def _natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts the numbers in names by their value."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


@torch.inference_mode()
def measure_clips(
    painter: Painter, references: References, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Flicker]:
    """Paint some clips in some styles, by the indices of both, and measure how they flicker."""
    found = {}
    shown = track(pairs, "Measuring clips", disable=not pairs or not sys.stderr.isatty())
    for clip, same in groupby(shown, key=lambda pair: pair[0]):
        count = len(references.protocol.clips[clip].frames)
        motions = [references.motion(clip, index) for index in range(1, count)]
        for _, style in same:
            found[clip, style] = _flicker(painter, references, clip, style, motions)
    return found


def _flicker(painter: Painter, references: References, clip: int, style: int, motions: Sequence[Motion]) -> Flicker:
    painting = references.images("style", [style])
    errors, previous = [], None
    for index, motion in enumerate([None, *motions]):
        content = references.frame(clip, index)
        both = torch.cat([painter.frame(clip, style, index, content, painting), content])
        if motion is not None and previous is not None and motion.visible.any():
            errors.append(warping_error(both, previous, motion))
        previous = both
    stylized, own = torch.stack(errors).mean(dim=0).tolist() if errors else (math.nan, math.nan)
    return Flicker(stylized, own)
