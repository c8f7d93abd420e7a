"""Images in memory and the crops that are made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from scumble.images import read_image, to_float


class ImageSet(Sequence[Tensor]):
    """The images of some files as uint8 (3, H, W) with one shorter side, decoded when they are first asked for.

    ``trim`` is the share that is cut from each side first, such as the frame of a photographed painting; the rest has
    the shorter side that is asked for.

    The first ``cache_bytes`` of decoded images stay in memory; the images after them are decoded each time. What is in
    memory is not pickled, and each data worker fills its own, so a run may hold ``cache_bytes`` per worker. The tensors
    are shared with the cache: do not change them in place.

    Raises: ImageError, when an image is asked for, if its file cannot be read (anymore).
    """

    def __init__(
        self, paths: Sequence[str | Path], shorter_side: int, cache_bytes: int = 1 << 30, trim: float = 0.0
    ) -> None:
        if shorter_side < 1:
            raise ValueError(f"shorter_side must be at least 1 pixel, got {shorter_side}")
        self.paths = [Path(path) for path in paths]
        self.shorter_side = shorter_side
        self.cache_bytes = cache_bytes
        self.trim = trim
        self._forget()

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageSet": ...
    def __getitem__(self, index: int | slice) -> "Tensor | ImageSet":
        if isinstance(index, slice):
            return ImageSet(self.paths[index], self.shorter_side, self.cache_bytes, self.trim)
        path = self.paths[index]
        if path in self._cache:
            return self._cache[path]
        image = read_image(path, round(self.shorter_side / (1 - 2 * self.trim)))
        if self.trim:
            image = trimmed(image, self.trim)
        if image.nbytes <= self._free_bytes:
            self._cache[path] = image
            self._free_bytes -= image.nbytes
        return image

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("_cache", "_free_bytes")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._cache: dict[Path, Tensor] = {}
        self._free_bytes = self.cache_bytes


def trimmed(image: Tensor, share: float) -> Tensor:
    """The middle of an image (3, H, W), without a share of its height and width on each side."""
    height, width = (round(side * (1 - 2 * share)) for side in image.shape[1:])
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width].contiguous()  # not a view, which would keep all of it


def random_crop(image: Tensor, size: int, rng: np.random.Generator, scale: tuple[float, float] = (0.6, 1.0)) -> Tensor:
    """A random square of an image, resized to ``size`` and mirrored half of the time; a pure function of ``rng``.

    The side of the square is a fraction of the image's shorter side, uniform in ``scale``. It is at least ``size``
    where the image has that many pixels, so that a crop is enlarged only if the image itself is too small.

    Shape: image uint8 (3, H, W); returns float32 (3, size, size) in [0, 1].
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale must be two fractions, 0 < least <= most <= 1, got {scale}")
    _, height, width = image.shape
    shorter = min(height, width)
    smallest = max(scale[0] * shorter, min(size, shorter))
    largest = max(scale[1] * shorter, smallest)
    zoom, down, right, mirror = rng.random(4)
    side = round(smallest + zoom * (largest - smallest))
    crop = _square(image, int(down * (height - side + 1)), int(right * (width - side + 1)), side, size)
    return crop.flip(-1) if mirror < 0.5 else crop


def center_crop(image: Tensor, size: int) -> Tensor:
    """The largest square in the middle of an image, resized to ``size``.

    Shape: image uint8 (3, H, W); returns float32 (3, size, size) in [0, 1].
    """
    _, height, width = image.shape
    side = min(height, width)
    return _square(image, (height - side) // 2, (width - side) // 2, side, size)


def _square(image: Tensor, top: int, left: int, side: int, size: int) -> Tensor:
    """A square of a uint8 image, resized to ``size``, in [0, 1].

    Of the ways to do it on one core (180 -> 64 pixels) contiguous uint8 is the quickest: 95 us; a view of uint8 takes
    126, torchvision's v2 resize 141, float 178. Its values are within one 255th of those of float.
    """
    if size < 2:  # to which torch's uint8 resize fails with an internal error
        raise ValueError(f"a crop must have a size of at least 2 pixels, got {size}; set data.image_size")
    crop = image[None, :, top : top + side, left : left + side].contiguous()
    return to_float(F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0])
