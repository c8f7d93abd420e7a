"""Images as users hold them (paths, PIL images, arrays, tensors) to tensors and back."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scumble.images import from_pil, read_image, to_float, to_uint8

UserImage = str | Path | Image.Image | np.ndarray | Tensor


def to_tensor(image: UserImage, name: str = "image") -> Tensor:
    """An image as (3, H, W) float in [0, 1].

    Accepted: a path; a PIL image; an array (H, W, 3) or (H, W), uint8 or float in [0, 1]; a tensor (3, H, W) or
    (1, 3, H, W), uint8 or float in [0, 1]. ``name`` is what an error calls it.
    Raises: ValueError for another shape, type or range, and for a file that cannot be read.
    """
    if isinstance(image, str | Path):
        return to_float(read_image(image))
    if isinstance(image, Image.Image):
        return to_float(from_pil(image))
    if isinstance(image, np.ndarray):
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"{name}: an array must be (H, W, 3) or (H, W), got {image.shape}")
        return _in_range(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), name)
    if isinstance(image, Tensor):
        if image.ndim == 4 and len(image) == 1:
            image = image[0]
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"{name}: a tensor must be (3, H, W) or (1, 3, H, W), got {tuple(image.shape)}")
        return _in_range(image, name)
    raise ValueError(f"{name}: got a {type(image).__name__}; accepted: a path, a PIL image, an array or a tensor")


def to_kind_of(tensor: Tensor, image: UserImage) -> Image.Image | np.ndarray | Tensor:
    """An image (3, H, W), float in [0, 1], as the kind and type of ``image``; as a PIL image for a path."""
    if isinstance(image, Tensor):
        converted = tensor if image.is_floating_point() else to_uint8(tensor)
        return converted[None] if image.ndim == 4 else converted
    if isinstance(image, np.ndarray) and image.dtype != np.uint8:
        return tensor.permute(1, 2, 0).cpu().numpy().astype(image.dtype)
    pixels = to_uint8(tensor).permute(1, 2, 0).cpu().numpy()
    return pixels if isinstance(image, np.ndarray) else Image.fromarray(pixels)


def _in_range(image: Tensor, name: str) -> Tensor:
    if image.dtype == torch.uint8:
        return to_float(image)
    if not image.is_floating_point():
        raise ValueError(f"{name}: its type must be uint8 or float, got {image.dtype}")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"{name}: a float image must be in [0, 1], got values from {low:g} to {high:g}")
    return image.float()
