"""Straight lines that a generator leaves where its patches or tiles meet."""

import torch
from torch import Tensor


def line_profile(images: Tensor) -> Tensor:
    """How much the brightness jumps across each straight line through the whole image, down and across.

    Between two neighbouring columns, the step of the brightness less the mean of the steps beside it; then the median
    over the rows, which a jump of one sign along most of the line moves, and an edge or texture of what is painted does
    not.
    Shape: (B, C, H, W) in [0, 1]; returns (B, H + W - 6), in [0, 1].
    """
    grey = images.float().mean(dim=1)
    return torch.cat([_jumps(grey), _jumps(grey.mT)], dim=1)


def seam_strength(profile: Tensor, content_profile: Tensor) -> Tensor:
    """The largest jump along a line of :func:`line_profile` that the content does not have: a horizon is no seam.

    Shape: two of (B, N); returns (B,), in [0, 1]; 0 without a seam.
    """
    return (profile - content_profile).clamp_min(0).amax(dim=1)


def _jumps(grey: Tensor) -> Tensor:
    """The jumps between the columns of images (B, H, W), without the outermost ones."""
    steps = grey.diff(dim=2)
    jumps: Tensor = steps[..., 1:-1] - (steps[..., :-2] + steps[..., 2:]) / 2
    return jumps.median(dim=1).values.abs()
