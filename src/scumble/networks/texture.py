"""What of a style's features is its texture."""

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.losses.perceptual import channel_moments
from scumble.networks.layers import tile


def texture_of(features: Tensor, window: int, block: int) -> Tensor:
    """What is finer than ``window`` positions in every channel, with a deviation of 1, in blocks that changed places.

    Shape: (B, C, H, W) to the same; blocks of ``block`` x ``block`` positions. What texture is must not say what the
    painting shows, or its figures shine through, and a photograph in its own style finds its edges there: so no block
    lies where it was.
    """
    detail = features - F.avg_pool2d(features, window, stride=1, padding=window // 2, count_include_pad=False)
    _, deviation = channel_moments(detail, eps=1e-3)
    return shuffle_blocks(detail / deviation, block)


def shuffle_blocks(features: Tensor, block: int) -> Tensor:
    """The blocks of a map in another order, which depends on their number alone; none stays where it was.

    Shape: (B, C, H, W) to the same. What is left over at the right and at the bottom is filled as in a mirror.
    """
    height, width = features.shape[-2:]
    block = max(1, min(block, height // 2, width // 2))
    down, right = height // block, width // block
    if down * right < 2:
        return features
    blocks = F.unfold(features[..., : down * block, : right * block], block, stride=block)
    # One cycle through all blocks in a random order. CPU numbers, so that it is the same on every device.
    order = torch.randperm(down * right, generator=torch.Generator().manual_seed(0))
    source = torch.empty_like(order).scatter_(0, order, order.roll(1)).to(features.device)
    shuffled = F.fold(blocks[..., source], (down * block, right * block), block, stride=block)
    return tile(shuffled, height, width)
