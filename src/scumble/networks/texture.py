"""What of a style's features is its texture."""

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.networks.layers import tile
from scumble.statistics import channel_moments


def texture_of(features: Tensor, window: int, block: int) -> Tensor:
    """What is finer than ``window`` positions in every channel, as a map of typical blocks, with a deviation of 1.

    Shape: (B, C, H, W) to the same; blocks of ``block`` x ``block`` positions. What texture is must not say what the
    painting shows, or its figures shine through, and a photograph in its own style finds its edges there: so no block
    lies where it was. Nor is it the edge of a frame, or bare canvas: see :func:`typical_blocks`.
    """
    detail = features - F.avg_pool2d(features, window, stride=1, padding=window // 2, count_include_pad=False)
    texture = typical_blocks(detail, block)
    _, deviation = channel_moments(texture, eps=1e-3)
    return texture / deviation


def typical_blocks(features: Tensor, block: int) -> Tensor:
    """A map made of the blocks of a map whose energy is neither high nor low, in an order that forgets where they were.

    Shape: (B, C, H, W) to the same. The half of the blocks with the middle energies is laid out in an order that
    depends on the number of blocks alone; none lies where it was. What is left over at the right and at the bottom is
    filled as in a mirror. A map of less than two blocks stays as it is.
    """
    height, width = features.shape[-2:]
    block = max(1, min(block, height // 2, width // 2))
    down, right = height // block, width // block
    count = down * right
    if count < 2:
        return features
    blocks = F.unfold(features[..., : down * block, : right * block], block, stride=block)
    by_energy = blocks.square().mean(dim=1).argsort(dim=1, stable=True)
    chosen = by_energy[:, count // 4 : count - count // 4]
    # CPU numbers, so that it is the same on every device.
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).to(features.device)
    source, other = (chosen[:, (order + shift) % chosen.shape[1]] for shift in (0, 1))
    source = torch.where(source == torch.arange(count, device=features.device), other, source)
    laid = blocks.gather(2, source[:, None].expand(blocks.shape))
    return tile(F.fold(laid, (down * block, right * block), block, stride=block), height, width)
