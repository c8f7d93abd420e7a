"""The judges of the benchmarks: the real VGG-19 and LPIPS, whatever a run was trained with."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import squeezenet1_1

from scumble.losses.perceptual import channel_moments, content_loss, moment_style_loss
from scumble.networks.perceptual_encoders import CONTENT_LAYERS, vgg19_normalised


class LPIPS(nn.Module):
    """LPIPS v0.1 on SqueezeNet 1.1 features; one distance per pair of images (B, 3, H, W) in [0, 1].

    Source: Zhang et al. 2018, https://arxiv.org/abs/1801.03924.
    """

    cuts = (0, 2, 5, 8, 10, 11, 12, 13)

    def __init__(self, weights: Path):
        super().__init__()
        network = squeezenet1_1(weights=None)
        network.load_state_dict(load_file(weights / "squeezenet1_1_features.safetensors"), strict=False)
        self.slices = nn.ModuleList(network.features[a:b] for a, b in zip(self.cuts[:-1], self.cuts[1:], strict=True))
        heads = load_file(weights / "lpips_squeeze_v0.1_linear.safetensors")
        self.heads = [heads[f"lin{index}.model.1.weight"] for index in range(len(self.slices))]
        self.shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1)
        self.scale = torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        hidden = [(images * 2 - 1 - self.shift) / self.scale for images in (first, second)]
        distance = torch.zeros(len(first))
        for block, head in zip(self.slices, self.heads, strict=True):
            hidden = [block(maps) for maps in hidden]
            a, b = (maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for maps in hidden)
            distance = distance + F.conv2d((a - b).square(), head).mean(dim=(1, 2, 3))
        return distance


class Judges:
    """Content distance, style distance and LPIPS of stylized images."""

    def __init__(self, weights: Path):
        self.vgg = vgg19_normalised(weights / "vgg19_normalised_relu4_1.safetensors").eval()
        self.lpips = LPIPS(weights).eval()

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
