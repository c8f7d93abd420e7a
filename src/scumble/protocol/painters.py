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
    """Makes the stylized images of a protocol; ``paints`` says if it can paint other contents as well."""

    paints: bool

    def __call__(self, pairs: Sequence[int], content: Tensor, style: Tensor) -> Tensor:
        """The stylized images of the pairs with these indices, (B, 3, S, S) as float; not finite where it failed."""

    def frame(self, clip: int, style: int, index: int, content: Tensor, painting: Tensor) -> Tensor:
        """A stylized frame, (1, 3, S, S) as float, of the clip and in the style with these indices."""


class Model:
    """The output of a generator quantized to 8 bits, as in a PNG file: that is what a viewer sees.

    What a generator draws at random depends on the seed and the pair alone, so a generator that draws paints the pairs
    of a batch one by one. It draws the same for all frames of a clip, so that only what it makes of them flickers.
    ``strength`` is None for a generator that takes none.
    """

    paints = True

    def __init__(self, generator: nn.Module, seed: int, strength: float | None = None):
        self.generator, self.seed, self.strength = generator, seed, strength
        self.draws = False  # until it is seen to

    def __call__(self, pairs: Sequence[int], content: Tensor, style: Tensor) -> Tensor:
        if not self.draws:
            stylized = self._paint(pairs[0], content, style)
        if self.draws:
            alone = zip(pairs, content.split(1), style.split(1), strict=True)
            stylized = torch.cat([self._paint(*each) for each in alone])
        return stylized

    def frame(self, clip: int, style: int, index: int, content: Tensor, painting: Tensor) -> Tensor:
        return self._paint(clip, content, painting)

    def _paint(self, draw: int, content: Tensor, style: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(mix(self.seed, draw))
            inputs = (content, style) if self.strength is None else (content, style, self.strength)
            before = _random_state(content.device)
            stylized: Tensor = self.generator(*inputs)
            self.draws = self.draws or not torch.equal(_random_state(content.device), before)
        finite = stylized.isfinite().flatten(1).all(dim=1)[:, None, None, None]
        return torch.where(finite, to_float(to_uint8(stylized)), torch.nan)


def _random_state(device: torch.device) -> Tensor:
    """The states of torch's default generators, on the CPU and on the device."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return torch.cat(states)


class Pictures:
    """Pictures in a folder, by name: that of ``a.jpg`` in the style of ``b.jpg`` is ``a_b``, with any suffix.

    So ``scumble stylize`` names them. They are resized and cropped as the contents are. The frames of a clip are in a
    folder of its name, likewise: ``walk/0001_b``.
    Raises: ProtocolError if a picture is missing, or if a name says two things.
    """

    paints = False

    def __init__(self, folder: str | Path, protocol: Protocol):
        self.size = protocol.size
        clips = {clip.name for clip in protocol.clips}
        found: dict[str, list[Path]] = {}
        for path in find_images(folder, "--images"):
            clip = path.relative_to(folder).parent.name if path != Path(folder) else ""
            found.setdefault(f"{clip}/{path.stem}" if clip in clips else path.stem, []).append(path)

        def paths(wanted: Sequence[str], kind: str, rule: str) -> list[Path]:
            if missing := [name for name in wanted if name not in found]:
                raise ProtocolError(
                    f"{folder} has no picture of {len(missing)} of the {len(wanted)} {kind}, the first is "
                    f"{missing[0]}.png: {rule}"
                )
            for name in wanted:
                if len(found[name]) > 1 or wanted.count(name) > 1:
                    raise ProtocolError(f"{folder}: {name} is not the name of one picture and one pair alone")
            return [found[name][0] for name in wanted]

        styles = [Path(style.name).stem for style in protocol.style]
        pairs = [f"{Path(protocol.content[c].name).stem}_{styles[s]}" for c, s in protocol.pairs]
        frames = {
            (c, s, index): f"{protocol.clips[c].name}/{Path(frame.name).stem}_{styles[s]}"
            for c, s in protocol.clip_pairs
            for index, frame in enumerate(protocol.clips[c].frames)
        }
        self.paths = paths(pairs, "pairs", "a picture is named CONTENT_STYLE, after the files of its pair")
        rule = "a frame of a clip is named CLIP/FRAME_STYLE, after the folder of the clip and the files"
        self.frames = dict(zip(frames, paths(list(frames.values()), "frames", rule), strict=True))

    def __call__(self, pairs: Sequence[int], content: Tensor, style: Tensor) -> Tensor:
        return torch.stack([prepare(self.paths[pair], self.size) for pair in pairs]).to(content.device)

    def frame(self, clip: int, style: int, index: int, content: Tensor, painting: Tensor) -> Tensor:
        return prepare(self.frames[clip, style, index], self.size)[None].to(content.device)
