"""LPIPS from weights on disk."""

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn

from scumble.networks.weights import load_weights

# torchvision's name of each backbone, and where the slices of its features end.
BACKBONES = {
    "squeeze": ("squeezenet1_1", (0, 2, 5, 8, 10, 11, 12, 13)),
    "alex": ("alexnet", (0, 2, 5, 8, 10, 12)),
    "vgg": ("vgg16", (0, 4, 9, 16, 23, 30)),
}


class LPIPS(nn.Module):
    """LPIPS v0.1: one perceptual distance per pair of images, 0 for equal ones.

    Shape: two of (B, 3, H, W) in [0, 1], sides of at least 32; returns (B,).
    ``backbone`` is torchvision's network (all of it or its features), ``heads`` the linear layers of LPIPS v0.1
    (``lin0.model.1.weight`` ...), both as safetensors or as a state dict that loads without pickled objects.
    ``network`` says which: squeeze, alex, vgg.
    Source: Zhang et al. 2018, https://arxiv.org/abs/1801.03924.
    """

    def __init__(self, backbone: str | Path, heads: str | Path, network: str = "squeeze"):
        super().__init__()
        from torchvision import models  # slow to import, and seldom needed

        if network not in BACKBONES:
            raise ValueError(f"lpips.network must be one of {', '.join(BACKBONES)}, got {network!r}")
        name, cuts = BACKBONES[network]
        features = getattr(models, name)(weights=None).features[: cuts[-1]]
        wanted = {f"features.{key}" for key in features.state_dict()}
        state = load_weights(backbone, "lpips.backbone")
        if missing := wanted - state.keys():
            raise ValueError(f"{backbone}: not torchvision's {name}: {min(missing)} is missing")
        try:
            features.load_state_dict({key.removeprefix("features."): state[key] for key in wanted})
        except RuntimeError as error:
            raise ValueError(f"{backbone}: not torchvision's {name}: {error}") from error
        self.slices = nn.ModuleList(features[a:b] for a, b in itertools.pairwise(cuts))
        linear = load_weights(heads, "lpips.heads")
        for index in range(len(self.slices)):
            key = f"lin{index}.model.1.weight"
            if key not in linear or linear[key].min() < 0:
                raise ValueError(
                    f"{heads}: not the linear layers of LPIPS v0.1 ({network}): {key} is missing or negative"
                )
            self.register_buffer(f"root{index}", linear[key].float().sqrt(), persistent=False)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return lpips_distance(self.embed(first), self.embed(second))

    def embed(self, images: Tensor) -> Tensor:
        """Vectors (B, N) whose squared distance is LPIPS: an image that is compared often is looked at once.

        They are the maps of all slices, of length 1 at every position, times the roots of the linear layers' weights
        and of the share of a position in the mean.
        """
        hidden = (images * 2 - 1 - self.shift) / self.scale  # type: ignore[operator]
        vectors = []
        for index, block in enumerate(self.slices):
            hidden = block(hidden)
            length = torch.linalg.vector_norm(hidden, dim=1, keepdim=True) + 1e-10
            root = getattr(self, f"root{index}") / (hidden.shape[2] * hidden.shape[3]) ** 0.5
            unit = (hidden / length).mul_(root)
            vectors.append(unit.permute(0, 2, 3, 1).flatten(1))  # as channels last lie in memory
        return torch.cat(vectors, dim=1)


def lpips_distance(first: Tensor, second: Tensor) -> Tensor:
    """LPIPS of two batches of images (B,), from their vectors (B, N) of :meth:`LPIPS.embed`."""
    return (first - second).square().sum(dim=1)
