"""LPIPS from weights on disk."""

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.weights import load_weights

# Where the slices of SqueezeNet's features end, and the width of what comes out.
CUTS = (0, 2, 5, 8, 10, 11, 12, 13)


class LPIPS(nn.Module):
    """LPIPS v0.1 on SqueezeNet 1.1: one perceptual distance per pair of images, 0 for equal ones.

    Shape: two of (B, 3, H, W) in [0, 1], sides of at least 32; returns (B,).
    ``backbone`` is torchvision's squeezenet1_1 (all of it or its features), ``heads`` the linear layers of LPIPS v0.1
    (``lin0.model.1.weight`` ...), both as safetensors or as a state dict that loads without pickled objects.
    Source: Zhang et al. 2018, https://arxiv.org/abs/1801.03924.
    """

    def __init__(self, backbone: str | Path, heads: str | Path):
        super().__init__()
        from torchvision.models import squeezenet1_1  # slow to import, and seldom needed

        network = squeezenet1_1(weights=None)
        state = {k: v for k, v in load_weights(backbone, "lpips.backbone").items() if k.startswith("features.")}
        missing = {k for k in network.state_dict() if k.startswith("features.")} ^ state.keys()
        if missing:
            raise ValueError(f"{backbone}: not torchvision's squeezenet1_1: {min(missing)} is missing or unknown")
        network.load_state_dict(state, strict=False)
        self.slices = nn.ModuleList(network.features[a:b] for a, b in itertools.pairwise(CUTS))
        linear = load_weights(heads, "lpips.heads")
        for index in range(len(self.slices)):
            name = f"lin{index}.model.1.weight"
            if name not in linear:
                raise ValueError(f"{heads}: not the linear layers of LPIPS v0.1 (squeeze): {name} is missing")
            self.register_buffer(f"head{index}", linear[name].float(), persistent=False)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        hidden = [(images * 2 - 1 - self.shift) / self.scale for images in (first, second)]  # type: ignore[operator]
        distance = torch.zeros(len(first), device=first.device)
        for index, block in enumerate(self.slices):
            hidden = [block(maps) for maps in hidden]
            a, b = (maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for maps in hidden)
            weighted = F.conv2d((a - b).square(), getattr(self, f"head{index}"))
            distance = distance + weighted.mean(dim=(1, 2, 3))
        return distance
