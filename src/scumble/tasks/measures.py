"""What several tasks measure in validation."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from scumble.losses.perceptual import content_loss, moment_style_loss
from scumble.networks.perceptual_encoders import CONTENT_LAYERS, STYLE_LAYERS
from scumble.precision import in_float32
from scumble.seeding import VALIDATION, mix
from scumble.statistics import channel_moments


@in_float32
def psnr(images: Tensor, clean: Tensor) -> Tensor:
    """The peak signal-to-noise ratio in dB for values in [0, 1], averaged over the images (B, C, H, W)."""
    ratio: Tensor = peak_signal_noise_ratio(images, clean, data_range=1.0, dim=(1, 2, 3))
    return ratio


@in_float32
def ssim(images: Tensor, clean: Tensor) -> Tensor:
    """The structural similarity for values in [0, 1], averaged over the images (B, C, H, W).

    Source: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861.
    """
    similarity = structural_similarity_index_measure(images, clean, data_range=1.0)
    assert isinstance(similarity, Tensor)
    return similarity


def fixed_damage(damage: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Images damaged in the same way at every call: the damage of each is seeded by its own pixels.

    So it depends neither on the step nor on the batch, the rank or the other images. The random state of training is
    as before afterwards.
    """
    devices = [images.device] if images.device.type == "cuda" else []
    damaged = []
    with torch.random.fork_rng(devices):
        for image in images:
            pixels = (image * 255).round().byte().cpu().numpy().tobytes()
            torch.manual_seed(mix(VALIDATION, crc32(pixels)))
            damaged.append(damage(image[None]))
    return torch.cat(damaged)


Encoder = Callable[[Tensor], dict[str, Tensor]]


@torch.no_grad()
def content_targets(encoder: Encoder, content: Tensor) -> dict[str, Tensor]:
    """What the content term compares with: the features of the content layers."""
    features = encoder(content)
    return {layer: features[layer] for layer in CONTENT_LAYERS}


@torch.no_grad()
def style_targets(encoder: Encoder, style: Tensor, statistics_of: Callable[[Tensor], Any]) -> dict[str, Any]:
    """What the style term compares with: the statistics of the features of the style layers."""
    features = encoder(style)
    return {layer: statistics_of(features[layer]) for layer in STYLE_LAYERS}


@in_float32
def perceptual_distances(encoder: Encoder, stylized: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
    """How far stylized images are from the content and from the style, by the features of a perceptual encoder."""
    features = encoder(stylized)
    return {
        "content_distance": content_loss(features, content_targets(encoder, content)),
        "style_distance": moment_style_loss(features, style_targets(encoder, style, channel_moments)),
    }


@in_float32
def style_distance(encoder: Encoder, images: Tensor, style: Tensor) -> Tensor:
    """The style distance alone, for images that have no content."""
    return moment_style_loss(encoder(images), style_targets(encoder, style, channel_moments))
