"""What W&B keeps of a run on disk: ``.wandb`` files of records."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

_MAGIC = b":W&B"
_BLOCK, _FILE_HEADER, _HEADER = 2**15, 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def wandb_files(run_dir: str | Path, run_id: str) -> list[Path]:
    """The files of a W&B run in a run folder, one for each time that it was started or resumed, in their order."""
    return sorted((Path(run_dir) / "wandb").glob(f"*run-*-{run_id}*/run-{run_id}.wandb"))


def read_history(path: str | Path) -> Iterator[tuple[int, dict[tuple[str, ...], str]]]:
    """The rows that a file has in its history: the step, and the values as JSON by the path of their names."""
    for record in read_records(path):
        if record.WhichOneof("record_type") == "history":
            values = {tuple(item.nested_key) or (item.key,): item.value_json for item in record.history.item}
            yield int(values["_step",]), values


def read_records(path: str | Path) -> Iterator[Any]:
    """The records of a file in their order; what follows the first one that a kill cut short is left out."""
    from wandb.proto import wandb_internal_pb2

    for _, content in _whole_records(Path(path).read_bytes()):
        yield wandb_internal_pb2.Record.FromString(content)  # type: ignore[attr-defined]


def truncate(path: str | Path) -> None:
    """Truncate the file after its last complete record; delete its folder if it holds no run record.

    A kill leaves such files, and ``wandb sync`` goes no further than the first of them, also to other files of the run.
    """
    path = Path(path)
    content = path.read_bytes()
    if not any(record.WhichOneof("record_type") == "run" for record in read_records(path)):
        shutil.rmtree(path.parent)
    elif (end := max(end for end, _ in _whole_records(content))) < len(content):
        os.truncate(path, end)


def _whole_records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of a file, each with the position of its end, up to the first one that is not whole.

    The file is a log of LevelDB's with a header of its own.
    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md.
    """
    if not content.startswith(_MAGIC):
        return
    whole, position = b"", _FILE_HEADER
    while position + _HEADER <= len(content):
        if _BLOCK - position % _BLOCK < _HEADER:  # the end of a block is filled up
            position += _BLOCK - position % _BLOCK
            continue
        checksum = int.from_bytes(content[position : position + 4], "little")
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        part = content[position + _HEADER : position + _HEADER + length]
        if len(part) < length or checksum != crc32(part, crc32(bytes([kind]))):
            return
        whole = part if kind in (_FULL, _FIRST) else whole + part
        position += _HEADER + length
        if kind in (_FULL, _LAST):
            yield position, whole
