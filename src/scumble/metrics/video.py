"""Whether a stylized clip flickers: a frame and the one before it, which is moved as the content moves."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.metrics.content import LUMINANCE


class Motion(NamedTuple):
    """Where the pixels of a frame were in the frame before.

    ``flow`` is (2, H, W): how far down and to the right, in pixels. ``visible`` is (H, W), bool: False for what was
    hidden, or outside of the picture.
    """

    flow: Tensor
    visible: Tensor


def motion_since(previous: Tensor, frame: Tensor) -> Motion:
    """The motion from one frame of the content to the next, by the optical flow in both directions.

    Shape: two of (3, H, W) in [0, 1].
    """
    back = optical_flow(frame, previous)
    return Motion(back, is_consistent(back, optical_flow(previous, frame)))


def optical_flow(image: Tensor, other: Tensor) -> Tensor:
    """Where the pixels of an image are in another one: how far down and to the right, in pixels.

    Shape: two of (3, H, W) in [0, 1]; returns (2, H, W), on the same device.
    Source: TV-L1 of scikit-image (Pérez et al. 2013, https://doi.org/10.5201/ipol.2013.26), of the luminance, with the
    median filter of Wedel et al. 2009. A photograph of 256x256 that moves by 14 pixels is found to 0.01 pixels;
    scikit-image's Lucas-Kanade errs by 0.1 to 1.
    """
    from skimage.registration import optical_flow_tvl1  # slow to import, and seldom needed

    weights = image.new_tensor(LUMINANCE)[:, None, None]
    first, second = ((picture * weights).sum(dim=0).cpu().numpy() for picture in (image, other))
    return torch.from_numpy(optical_flow_tvl1(first, second, prefilter=True)).to(image)


def warped(images: Tensor, flow: Tensor) -> Tensor:
    """Images whose pixels are taken from where a flow points, bilinearly; beyond the border from the border.

    Shape: (B, C, H, W) and (2, H, W); returns (B, C, H, W).
    """
    down, right = _targets(flow)
    height, width = down.shape
    grid = torch.stack([2 * right / (width - 1) - 1, 2 * down / (height - 1) - 1], dim=2)
    return F.grid_sample(
        images, grid.expand(len(images), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=True
    )


def is_consistent(back: Tensor, forth: Tensor) -> Tensor:
    """Which pixels come back to where they were when they follow a flow and then the flow of the other direction.

    |w + v|^2 <= 0.01 (|w|^2 + |v|^2) + 0.5, where v is ``forth`` at the place to which w, ``back``, points. It fails
    for what is hidden in the other image; what is outside of it is no part of it either.
    Shape: two of (2, H, W); returns (H, W), bool.
    Source: Ruder et al. 2016, equation 5, after Sundaram et al. 2010, https://arxiv.org/abs/1604.08610.
    """
    there = warped(forth[None], back)[0]
    gap = (back + there).square().sum(dim=0)
    lengths = back.square().sum(dim=0) + there.square().sum(dim=0)
    down, right = _targets(back)
    height, width = down.shape
    inside = (down >= 0) & (down <= height - 1) & (right >= 0) & (right <= width - 1)
    return inside & (gap <= 0.01 * lengths + 0.5)


def warping_error(frames: Tensor, previous: Tensor, motion: Motion) -> Tensor:
    """Mean absolute difference of frames and the frames before, moved to the present, where these are visible.

    Shape: two of (B, C, H, W) in [0, 1]; returns (B,): 0 for what moves with its scene, NaN where nothing is visible.
    Source: Lai et al. 2018, section 4.3, https://arxiv.org/abs/1808.00449.
    Departs from the paper: the absolute difference, not the squared one. It has the unit of the other flickers, and is
    less ruled by the few pixels at edges where the flow is wrong.
    """
    difference = (frames - warped(previous, motion.flow)).abs().mean(dim=1)
    return difference[:, motion.visible].mean(dim=1)


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """The row and the column to which a flow points from each pixel."""
    height, width = flow.shape[-2:]
    rows, columns = (torch.arange(side, device=flow.device, dtype=flow.dtype) for side in (height, width))
    return rows[:, None] + flow[0], columns + flow[1]
