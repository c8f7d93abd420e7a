"""The cells of the runs' grids of pictures, small enough for a page: the same content and style for every run.

Grids are read and cells encoded with PIL alone, without torch.
"""

import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from rich.progress import track

from scumble.comparison.runs import Run

# The columns of a grid that are given to the model; the first other one is what a run is judged by.
INPUTS = ("content", "style", "image", "damaged", "dark", "real")
PAIRS = 8
SIDES = (256, 192, 128, 96, 64)
QUALITY = 82


class GridError(ValueError):
    """A grid whose cells cannot be cut out."""


class Cell(NamedTuple):
    """A row of a grid: what went in, by caption, and what came out."""

    inputs: dict[str, Image.Image]
    caption: str
    output: Image.Image

    @property
    def key(self) -> str:
        """Equal for cells of the same inputs, to the pixel."""
        known = hashlib.sha1(self.caption.encode())
        for caption, image in self.inputs.items():
            known.update(f"{caption}{image.size}".encode() + image.tobytes())
        return known.hexdigest()


class Pair(NamedTuple):
    """What the cells of one row of the contact sheet have in common: the pictures that went in, by caption."""

    inputs: dict[str, int]
    caption: str


@dataclass
class ContactSheet:
    """The cells of all runs: ``cells[run][step]`` has the number of a picture, or None, for each of the ``pairs``.

    ``pictures`` are WebP files; ``left_out`` says what did not fit.
    """

    pairs: list[Pair] = field(default_factory=list)
    cells: list[dict[int, list[int | None]]] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    side: int = 0
    left_out: list[str] = field(default_factory=list)


def contact_sheet(runs: Sequence[Run], limit: int) -> ContactSheet:
    """The cells of the runs' grids in at most about ``limit`` bytes.

    All runs come at their last step first, smaller if need be; then other steps for all runs, as many as fit.
    """
    sheet = ContactSheet(cells=[{} for _ in runs])
    album = _Album(sheet.pictures)
    last = {index: max(run.grids) for index, run in enumerate(runs) if run.grids}
    rows: dict[str, Cell] = {}
    found: dict[int, dict[str, Image.Image]] = {}
    for index, step in _progress(last.items(), "Reading pictures"):
        if cells := _try_read(runs[index], step):
            rows = cells | rows
            found[index] = {key: cell.output for key, cell in cells.items()}
    if not found:
        return sheet
    keys = _choose_pairs(found.values(), sheet)
    album.side = sheet.side = _choose_side(list(found.values()), keys, limit, sheet)
    for index, outputs in _progress(found.items(), "Encoding pictures"):
        sheet.cells[index][last[index]] = [album.add(outputs[key]) if key in outputs else None for key in keys]
    for key in keys:
        inputs = {caption: album.add(image) for caption, image in rows[key].inputs.items()}
        sheet.pairs.append(Pair(inputs, rows[key].caption))
    mean = album.bytes / max(1, len(found))
    steps = _spread({step for index in found for step in runs[index].grids})
    for number, step in enumerate(_progress(steps, "Earlier pictures")):
        having = [index for index in found if step in runs[index].grids and step != last[index]]
        if album.bytes + mean * len(having) > limit:
            sheet.left_out.append(f"pictures of {len(steps) - number} of {len(steps)} steps")
            break
        for index in having:
            cells = _try_read(runs[index], step)
            sheet.cells[index][step] = [album.add(cells[key].output) if key in cells else None for key in keys]
    return sheet


def read_grid(path: Path) -> dict[str, Cell]:
    """The rows of a grid, by the key of their inputs.

    Raises: GridError if the file is no picture, or does not say where its cells are.
    """
    try:
        with Image.open(path, formats=["PNG"]) as file:
            text = getattr(file, "text", {}).get("scumble")
            picture = file.convert("RGB")
        layout: Any = json.loads(text or "null")
        cells = [_cell(picture, layout["columns"], row) for row in layout["rows"]]
    except (OSError, ValueError, TypeError, KeyError, SyntaxError, Image.DecompressionBombError) as error:
        raise GridError(f"{path.name} is no grid whose cells are known") from error
    return {cell.key: cell for cell in cells if cell is not None}


def _cell(picture: Image.Image, columns: Sequence[str], boxes: Sequence[Sequence[int]]) -> Cell | None:
    """A row of a grid; None if nothing came out."""
    images = {}
    for caption, (left, top, width, height) in zip(columns, boxes, strict=False):
        if not (0 <= left < left + width <= picture.width and 0 <= top < top + height <= picture.height):
            raise ValueError(f"a cell of {width}x{height} at {left},{top} in a picture of {picture.size}")
        images[str(caption)] = picture.crop((left, top, left + width, top + height))
    outputs = [caption for caption in images if caption not in INPUTS]
    if not outputs:
        return None
    return Cell({caption: images[caption] for caption in images if caption in INPUTS}, outputs[0], images[outputs[0]])


class _Album:
    """Pictures encoded once each, however often they come."""

    def __init__(self, pictures: list[bytes]):
        self.pictures, self.side = pictures, SIDES[0]
        self.numbers: dict[str, int] = {}
        self.bytes = 0

    def add(self, image: Image.Image) -> int:
        known = hashlib.sha1(image.tobytes()).hexdigest()
        if known not in self.numbers:
            self.numbers[known] = len(self.pictures)
            self.pictures.append(encode(image, self.side))
            self.bytes += len(self.pictures[-1])
        return self.numbers[known]


def encode(image: Image.Image, side: int) -> bytes:
    """A picture as WebP, its longer side at most ``side`` pixels."""
    if max(image.size) > side:
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=QUALITY, method=2)
    return encoded.getvalue()


def _try_read(run: Run, step: int) -> dict[str, Cell]:
    """The cells of a run at a step; of a grid that cannot be used there are none, and the run says so."""
    try:
        return read_grid(run.grids[step])
    except GridError as error:
        run.missing.append(str(error))
        return {}


def _choose_pairs(found: Iterable[dict[str, Image.Image]], sheet: ContactSheet) -> list[str]:
    """The keys of the pairs that most runs have, in the order of the grids."""
    counted = Counter(key for outputs in found for key in outputs)
    chosen = [key for key, _ in counted.most_common(PAIRS)]
    if len(counted) > len(chosen):
        sheet.left_out.append(f"{len(counted) - len(chosen)} of {len(counted)} pairs")
    return [key for key in counted if key in chosen]


def _choose_side(found: Sequence[dict[str, Image.Image]], keys: list[str], limit: int, sheet: ContactSheet) -> int:
    """The longest side with which the cells of all runs fit; fewer pairs, taken from ``keys``, if none does."""
    sample = [image for outputs in found[:3] for image in outputs.values()]
    own = max(max(image.size) for image in sample)
    largest = min(own, SIDES[0])
    for side in (largest, *(side for side in SIDES if side < largest)):
        cost = len(found) * sum(len(encode(image, side)) for image in sample) / len(sample)
        if cost * len(keys) <= limit:
            if side < own:
                sheet.left_out.append(f"detail: cells of {own} pixels have been reduced to {side}")
            return side
    fitting = max(1, int(limit / cost))
    sheet.left_out.append(
        f"{len(keys) - fitting} of {len(keys)} pairs, and detail: cells of {own} pixels have been reduced to {side}"
    )
    del keys[fitting:]
    return side


def _spread(steps: Iterable[int]) -> list[int]:
    """Steps, the last and the first ones first, then those in the middle of what is between."""
    ordered = sorted(steps)
    positions = [len(ordered) - 1, 0]
    parts = [(0, len(ordered) - 1)]
    while parts:
        low, high = parts.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            positions.append(middle)
            parts += [(low, middle), (middle, high)]
    return [ordered[position] for position in dict.fromkeys(positions)]


def _progress(items: Iterable[Any], what: str) -> Iterator[Any]:
    return iter(track(list(items), what, disable=not sys.stderr.isatty()))
