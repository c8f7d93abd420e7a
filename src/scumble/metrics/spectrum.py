"""Artefacts that a spectrum shows."""

import torch
from torch import Tensor

PERIODS = (2, 4)
# Beside a line, in bins; the window spreads the line itself over the two bins around it.
NEIGHBOURS = (-4, -3, 3, 4)


def checkerboard_energy(images: Tensor) -> Tensor:
    """How far the frequencies of a grid of 2 or 4 pixels stand out: their energy over that of their neighbours.

    Transposed and strided convolutions leave such grids (Odena et al. 2016, https://doi.org/10.23915/distill.00003).
    The spectrum is averaged over tiles of 32 pixels (Welch's method). About 1 for images without a grid; the frequency
    that stands out most counts, of horizontal, vertical and diagonal ones.

    Shape: (B, C, H, W); returns (B,), 1 for images with a side under 32 pixels, of which this cannot be told.
    """
    side = 32
    if min(images.shape[-2:]) < side:
        return torch.ones(len(images), device=images.device)
    grey = images.float().mean(dim=1)
    tiles = grey.unfold(1, side, side // 2).unfold(2, side, side // 2).flatten(1, 2)  # (B, tiles, side, side)
    window = torch.hann_window(side, device=images.device)
    tiles = (tiles - tiles.mean(dim=(2, 3), keepdim=True)) * window[:, None] * window
    energy = torch.fft.fft2(tiles).abs().square().mean(dim=1)
    floor = 1e-6 * energy.mean(dim=(1, 2)) + 1e-12  # a flat image has no grid
    ratios = []
    for period in PERIODS:
        line = side // period
        for down, right in ((1, 0), (0, 1), (1, 1)):
            # Along the line's own direction: pictures have much more energy on the axes than beside them.
            around = [energy[:, (line + n) * down % side, (line + n) * right % side] for n in NEIGHBOURS]
            expected = torch.stack([(value + floor).log() for value in around]).mean(dim=0).exp()
            ratios.append((energy[:, line * down, line * right] + floor) / expected)
    return torch.stack(ratios).amax(dim=0)
