"""The judges of the benchmarks: the real VGG-19 and LPIPS, whatever a run was trained with."""

from pathlib import Path

import torch
from torch import Tensor

from scumble.losses.perceptual import content_loss, moment_style_loss
from scumble.metrics import LPIPS
from scumble.networks.perceptual_encoders import CONTENT_LAYERS, vgg19_normalised
from scumble.statistics import channel_moments


class Judges:
    """Content distance, style distance and LPIPS of stylized images."""

    def __init__(self, weights: Path):
        self.vgg = vgg19_normalised(weights / "vgg19_normalised_relu4_1.safetensors").eval()
        self.lpips = LPIPS(
            weights / "squeezenet1_1_features.safetensors", weights / "lpips_squeeze_v0.1_linear.safetensors"
        )

    @torch.inference_mode()
    def __call__(self, content: Tensor, style: Tensor, stylized: Tensor) -> dict[str, float]:
        """The numbers of one pair, (1, 3, H, W) each.

        Content distance: mean squared difference of relu4_1. Style distance: mean squared difference of channel means
        plus that of deviations, summed over relu1_1 ... relu4_1. Both on VGG-19, normalised.
        """
        features, content_features = self.vgg(stylized), self.vgg(content)
        moments = {layer: channel_moments(maps) for layer, maps in self.vgg(style).items()}
        return {
            "content distance": float(
                content_loss(features, {layer: content_features[layer] for layer in CONTENT_LAYERS})
            ),
            "style distance": float(moment_style_loss(features, moments)),
            "LPIPS": float(self.lpips(content, stylized)),
        }
