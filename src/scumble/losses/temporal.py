"""A loss on flicker: what is painted of a scene that moves a little, and is a little noisy, moves with it."""

import torch
from torch import Tensor
from torch.nn import functional as F

# The scene moves by at most this many pixels in each direction.
SHIFT = 8
# The standard deviation of the noise, for images in [0, 1].
NOISE = 0.02


def random_shift() -> tuple[int, int]:
    """Whole pixels down and to the right, each uniform in -SHIFT ... SHIFT, from torch's default generator."""
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    return down, right


def next_frame(images: Tensor, down: int, right: int) -> Tensor:
    """Images moved by whole pixels, continued at the other sides by reflection, with normal noise.

    Shape: (B, C, H, W) in [0, 1] to the same, with sides above the shift. The noise is from torch's default generator.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)), mode="reflect")
    moved = padded[..., max(-down, 0) :, max(-right, 0) :][..., :height, :width]
    return (moved + NOISE * torch.randn_like(moved)).clamp(0, 1)


def temporal_loss(next_stylized: Tensor, stylized: Tensor, down: int, right: int) -> Tensor:
    """Mean absolute difference of the stylized next frame and the moved stylized image, where both show the scene.

    Shape: two of (B, C, H, W), of the :func:`next_frame` and of the frame before it.
    Source: the synthetic motion and noise of Wang et al. 2020, https://doi.org/10.1109/TIP.2020.3024018.
    Departs from the paper: the whole image moves by whole pixels, without local motion, so nothing is interpolated and
    only the overlap counts.
    """
    return F.l1_loss(_shared(next_stylized, down, right), _shared(stylized, -down, -right))


def _shared(images: Tensor, down: int, right: int) -> Tensor:
    """The part of images moved by whole pixels that was there before the move."""
    height, width = images.shape[-2:]
    return images[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
