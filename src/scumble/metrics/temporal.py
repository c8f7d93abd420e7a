"""Whether a picture would flicker in a video: the same scene, moved or noised, painted again."""

import torch
from torch import Tensor
from torch.nn import functional as F

# No multiple of it is a stride of a network, so that a shift meets every phase of the grids of its layers.
SHIFT = 3
# Of a small camera in good light, of a range of 1.
NOISE = 0.02


def shifted(images: Tensor, pixels: int = SHIFT) -> Tensor:
    """The scene moved up and to the left, continued at the other sides by reflection.

    Shape: (B, C, H, W) to the same.
    """
    return F.pad(images, (0, pixels, 0, pixels), mode="reflect")[..., pixels:, pixels:]


def noised(images: Tensor, seed: int, deviation: float = NOISE) -> Tensor:
    """Images in [0, 1] with normal noise, the same for every image.

    Shape: (B, C, H, W) to the same.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = deviation * torch.randn(images.shape[1:], generator=generator)
    return (images + noise.to(images.device)).clamp(0, 1)


def flicker_of_shift(repainted: Tensor, stylized: Tensor, pixels: int = SHIFT) -> Tensor:
    """Mean absolute difference of what was painted of the :func:`shifted` content and the shifted stylized image.

    Where the scene was continued nothing is compared, nor within 16 pixels of it, where a network sees the border.
    Shape: two of (B, C, H, W) in [0, 1]; returns (B,); 0 for a picture that moves with its scene.
    Source: consistency under known motion as in Ruder et al. 2016, https://arxiv.org/abs/1604.08610, with
    the motion of the whole frame as the optical flow.
    """
    height, width = (side - pixels - 16 for side in stylized.shape[-2:])
    moved = stylized[..., pixels : pixels + height, pixels : pixels + width]
    return (repainted[..., :height, :width] - moved).abs().mean(dim=(1, 2, 3))


def flicker_of_noise(repainted: Tensor, stylized: Tensor) -> Tensor:
    """Mean absolute difference of what was painted of the :func:`noised` content and the stylized image.

    Shape: two of (B, C, H, W) in [0, 1]; returns (B,). The noise itself has 0.016: more is noise that was amplified.
    """
    return (repainted - stylized).abs().mean(dim=(1, 2, 3))
