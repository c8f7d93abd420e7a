"""Projections of features for contrastive losses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchProjection(nn.Module):
    """An MLP of two layers for each map of features, to codes of length 1.

    Shape: features (B, channels[k], H, W) and positions (P,) to (B, P, code), for each k.
    Source: Park et al. 2020, section 3 (H_l) and appendix C.1, https://arxiv.org/abs/2007.15651.
    Departs from the paper: the layers are made for channels that are known, not at the first image; torch's initial
    weights instead of N(0, 0.02).
    """

    def __init__(self, channels: Sequence[int], code: int = 256):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, code), nn.ReLU(inplace=True), nn.Linear(code, code)) for width in channels
        )

    def forward(self, features: Sequence[Tensor], positions: Sequence[Tensor]) -> list[Tensor]:
        """The codes of the same positions (row-major) in every image."""
        return [
            F.normalize(layer(maps.flatten(2)[..., place].mT), dim=-1)
            for layer, maps, place in zip(self.layers, features, positions, strict=True)
        ]


def random_positions(features: Sequence[Tensor], count: int) -> list[Tensor]:
    """Up to ``count`` different positions of each map, from torch's default generator."""
    return [torch.randperm(maps[0, 0].numel(), device=maps.device)[:count] for maps in features]
