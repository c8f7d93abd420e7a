"""What the metrics say of the contents and styles of a protocol: computed once, kept in memory and in the cache."""

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from scumble.data.image_set import center_crop
from scumble.files import atomic_write
from scumble.images import read_image
from scumble.metrics.video import Motion, motion_since
from scumble.protocol.definition import Protocol
from scumble.protocol.metrics import PAIR_METRICS, SET_METRICS, Describe, Description, Seen

Role = Literal["content", "style"]
MEMORY = 1 << 30

log = logging.getLogger(__name__)


class References:
    """The pictures of a protocol, and their descriptions by the metrics.

    ``found`` is where each SHA-256 is. What needs a perceptual encoder or an Inception network is kept in the folder
    ``cache``, if there is one, by the hash of the picture and of all that the description depends on; the most recent
    gigabyte of descriptions is kept in memory. A picture is described on its own, so what is said of it does not depend
    on the others.
    """

    def __init__(
        self,
        protocol: Protocol,
        found: Mapping[str, Path],
        networks: Mapping[str, nn.Module],
        cache: Path | None = None,
        device: str = "cpu",
    ):
        self.protocol, self.found, self.networks, self.cache, self.device = protocol, found, networks, cache, device
        self._memory: OrderedDict[tuple[Role, int], dict[Describe, Description]] = OrderedDict()
        self._images: dict[tuple[Role, int], Tensor] = {}

    def images(self, role: Role, indices: Sequence[int]) -> Tensor:
        """Pictures as the generator gets them, (B, 3, size, size) in [0, 1]."""
        return torch.stack([self._image(role, index) for index in indices]).to(self.device)

    def described(self, role: Role, describe: Describe, index: int) -> Description:
        """What a metric says of a picture, as of a batch of one."""
        return self._describe(role, index)[describe]

    def frame(self, clip: int, index: int) -> Tensor:
        """A frame of a clip as the generator gets it, (1, 3, size, size) in [0, 1]."""
        file = self.protocol.clips[clip].frames[index]
        return prepare(self.found[file.sha256], self.protocol.size)[None].to(self.device)

    def motion(self, clip: int, index: int) -> Motion:
        """How the content moved since the frame before; kept in the cache."""
        frames = self.protocol.clips[clip].frames[index - 1 : index + 1]
        file = self._cache_file(motion=[frame.sha256 for frame in frames])
        kept = _read(file) if file else None
        if kept is None:
            kept = motion_since(self.frame(clip, index - 1)[0], self.frame(clip, index)[0])._asdict()
            if file:
                _write(kept, file)
        return Motion(**{name: tensor.to(self.device) for name, tensor in kept.items()})

    def _image(self, role: Role, index: int) -> Tensor:
        if (role, index) not in self._images:
            file = (self.protocol.content if role == "content" else self.protocol.style)[index]
            self._images[role, index] = prepare(self.found[file.sha256], self.protocol.size)
        return self._images[role, index]

    def _describe(self, role: Role, index: int) -> dict[Describe, Description]:
        if (role, index) in self._memory:
            self._memory.move_to_end((role, index))
            return self._memory[role, index]
        kept, others = self._describers(role)
        seen = Seen(self.images(role, [index]), self.networks)
        found = {describe: seen.described(describe) for describe in others}
        if kept:
            found |= self._through_cache(role, index, kept, seen)
        self._memory[role, index] = found
        while len(self._memory) > 1 and sum(map(_size, self._memory.values())) > MEMORY:
            self._memory.popitem(last=False)
        return found

    def _through_cache(
        self, role: Role, index: int, describers: Sequence[Describe], seen: Seen
    ) -> dict[Describe, Description]:
        file = self._description_file(role, index, describers)
        flat = _read(file) if file else None
        if flat is None:
            flat = {
                f"{describe.__name__}/{key}": tensor.contiguous()
                for describe in describers
                for key, tensor in seen.described(describe).items()
            }
            if file:
                _write(flat, file)
        return {
            describe: {
                name.split("/", 1)[1]: tensor.to(self.device)
                for name, tensor in flat.items()
                if name.startswith(f"{describe.__name__}/")
            }
            for describe in describers
        }

    def _describers(self, role: Role) -> tuple[list[Describe], list[Describe]]:
        """What is asked of a picture of a role: what is worth a file, and the rest."""
        pairs = [PAIR_METRICS[name] for name in self.protocol.metrics if name in PAIR_METRICS]
        needs = {metric.describe: metric.needs for metric in pairs if metric.of == role}
        if role == "style":
            sets = [SET_METRICS[name] for name in self.protocol.metrics if name in SET_METRICS]
            needs |= {metric.describe: metric.needs for metric in sets}
        kept = [describe for describe, network in needs.items() if network in ("perceptual_encoder", "inception")]
        return kept, [describe for describe in needs if describe not in kept]

    def _description_file(self, role: Role, index: int, describers: Sequence[Describe]) -> Path | None:
        return self._cache_file(
            image=(self.protocol.content if role == "content" else self.protocol.style)[index].sha256,
            describers=sorted(describe.__name__ for describe in describers),
            networks={
                name: [network.kind, {part: file.sha256 for part, file in network.files.items()}]
                for name, network in self.protocol.networks.items()
                if name in ("perceptual_encoder", "inception")
            },
            device=torch.device(self.device).type,
        )

    def _cache_file(self, **depends: object) -> Path | None:
        """Where something is kept that depends on this, and on how pictures are prepared."""
        if self.cache is None:
            return None
        protocol = self.protocol
        depends |= {"version": protocol.version, "preparation": [protocol.size, protocol.resize, protocol.crop]}
        key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        return self.cache / key[:2] / f"{key}.safetensors"


def prepare(path: str | Path, size: int) -> Tensor:
    """A picture as the protocol asks: its shorter side made ``size``, and the square in the middle.

    Shape: returns float32 (3, size, size) in [0, 1]. A picture of that size is not changed.
    Raises: ImageError if it cannot be read.
    """
    return center_crop(read_image(path, size), size)


def _size(descriptions: Mapping[Describe, Description]) -> int:
    return sum(tensor.nbytes for description in descriptions.values() for tensor in description.values())


def _read(file: Path) -> dict[str, Tensor] | None:
    """The tensors of a file of the cache; None if it is missing or damaged."""
    try:
        return load_file(file)
    except (OSError, SafetensorError):
        return None


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    """Keep tensors for the next time; a cache that cannot be written costs time, not the scores."""
    try:
        with atomic_write(path) as file:
            file.write(save({key: tensor.cpu() for key, tensor in tensors.items()}))
    except OSError as error:
        log.warning("the references will be described again next time: %s; set SCUMBLE_CACHE", error)
