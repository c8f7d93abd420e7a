"""Where the stylized images of an evaluation come from: a generator, or pictures made elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from scumble.data.folders import find_images
from scumble.images import to_float, to_uint8
from scumble.protocol.definition import Protocol, ProtocolError
from scumble.protocol.references import prepare
from scumble.seeding import mix


class Painter(Interface):
    """Makes the stylized images of some pairs of a protocol; ``paints`` says if it can paint other contents as well."""

    paints: bool

    def __call__(self, pairs: Sequence[int], content: Tensor, style: Tensor) -> Tensor:
        """The stylized images of the pairs with these indices, (B, 3, S, S) as float; not finite where it failed."""


class Model:
    """What a generator paints, as it would be in a PNG file: judged are the 8 bits that a viewer sees.

    What a generator draws at random depends on the seed and the first pair of the batch alone.
    """

    paints = True

    def __init__(self, generator: nn.Module, seed: int):
        self.generator, self.seed = generator, seed

    def __call__(self, pairs: Sequence[int], content: Tensor, style: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(mix(self.seed, pairs[0]))
            stylized: Tensor = self.generator(content, style)
        finite = stylized.isfinite().flatten(1).all(dim=1)[:, None, None, None]
        return torch.where(finite, to_float(to_uint8(stylized)), torch.nan)


class Pictures:
    """Pictures in a folder, by name: that of ``a.jpg`` in the style of ``b.jpg`` is ``a_b``, with any suffix.

    So ``scumble stylize`` names them. They are resized and cropped as the contents are.
    Raises: ProtocolError if a picture is missing, or if a name says two things.
    """

    paints = False

    def __init__(self, folder: str | Path, protocol: Protocol):
        found: dict[str, list[Path]] = {}
        for path in find_images(folder, "--images"):
            found.setdefault(path.stem, []).append(path)
        self.size, self.paths = protocol.size, []
        wanted = [
            f"{Path(protocol.content[c].name).stem}_{Path(protocol.style[s].name).stem}" for c, s in protocol.pairs
        ]
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ProtocolError(
                f"{folder} has no picture of {len(missing)} of the {len(wanted)} pairs, the first is "
                f"{missing[0]}.png: a picture is named CONTENT_STYLE, after the files of its pair"
            )
        for name in wanted:
            if len(found[name]) > 1 or wanted.count(name) > 1:
                raise ProtocolError(f"{folder}: {name} is not the name of one picture and one pair alone")
            self.paths.append(found[name][0])

    def __call__(self, pairs: Sequence[int], content: Tensor, style: Tensor) -> Tensor:
        return torch.stack([prepare(self.paths[pair], self.size) for pair in pairs]).to(content.device)
