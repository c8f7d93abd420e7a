"""What the painter uses of a whole picture: summaries of styles and contents, and mixtures of styles."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scumble.networks.painter_layers import Affine

Moments = tuple[Tensor, Tensor]  # mean and standard deviation, (B, C, 1, 1) each


class StyleSummary(NamedTuple):
    """Everything the painter uses of a style image.

    ``features`` holds the channel moments of the encoder's three levels, ``colours`` the moments of the opponent
    colours, ``statistics`` (B, S) all of them as the input of the code, ``tokens`` (B, N, C) the coarse features that
    attention reads. ``token_weights`` (B, N), the logarithms of their weights, is None where all weigh the same.
    """

    features: tuple[Moments, Moments, Moments]
    colours: Moments
    statistics: Tensor
    tokens: Tensor
    token_weights: Tensor | None = None


class ContentSummary(NamedTuple):
    """The global statistics of a content image, each as in :class:`StyleSummary`."""

    features: tuple[Moments, Moments, Moments]
    colours: Moments
    statistics: Tensor
    tokens: Tensor


class Prepared(NamedTuple):
    """Everything :meth:`Painter.paint` needs besides the pixels, for each sample of the batch.

    ``colours`` is an affine map of RGB, a matrix (B, 3, 3) and a shift (B, 3, 1, 1). ``features`` gives the content's
    features the style's moments at three levels. ``layers`` holds the scale and shift of every styled layer.
    ``style_tokens`` and ``content_tokens`` are keys, values and the logarithms of the keys' weights.
    """

    colours: tuple[Tensor, Tensor]
    features: tuple[Affine, Affine, Affine]
    layers: tuple[Affine, ...]
    style_tokens: tuple[Tensor, Tensor, Tensor | None]
    content_tokens: tuple[Tensor, Tensor, Tensor | None]


def moments_of(features: Tensor, eps: float = 1e-5) -> Moments:
    """:func:`scumble.losses.perceptual.channel_moments` in float32, in two passes.

    On a CPU that is twenty times faster than torch.var_mean, which took a tenth of the time of a picture.
    """
    features = features.float()
    mean = features.mean(dim=(2, 3), keepdim=True)
    return mean, ((features - mean).square().mean(dim=(2, 3), keepdim=True) + eps).sqrt()


def mix_styles(summaries: Sequence[StyleSummary], weights: Sequence[float]) -> StyleSummary:
    """One style out of several: moments and code inputs are averaged, attention sees all tokens by their weights.

    Weights are divided by their sum. A style of weight 0 has no effect, and a style mixed with itself is itself.
    Raises: ValueError if the weights are negative, all 0, or not as many as the summaries.
    """
    if len(summaries) != len(weights) or not summaries:
        raise ValueError(f"every style needs one weight, got {len(summaries)} styles and {len(weights)} weights")
    if min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights of styles must be at least 0, and one of them above 0; got {list(weights)}")
    shares = [weight / sum(weights) for weight in weights]
    used = [(summary, share) for summary, share in zip(summaries, shares, strict=True) if share]

    def average(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([share * part for part, (_, share) in zip(parts, used, strict=True)]).sum(dim=0)

    def average_moments(parts: Sequence[Moments]) -> Moments:
        return average([mean for mean, _ in parts]), average([deviation for _, deviation in parts])

    fine, middle, coarse = (average_moments([summary.features[k] for summary, _ in used]) for k in range(3))
    return StyleSummary(
        features=(fine, middle, coarse),
        colours=average_moments([summary.colours for summary, _ in used]),
        statistics=average([summary.statistics for summary, _ in used]),
        tokens=torch.cat([summary.tokens for summary, _ in used], dim=1),
        token_weights=torch.cat([_log_weights(summary) + math.log(share) for summary, share in used], dim=1),
    )


def _log_weights(summary: StyleSummary) -> Tensor:
    given = summary.token_weights
    return summary.tokens.new_zeros(summary.tokens.shape[:2]) if given is None else given


def expanded(part: Any, batch: int) -> Any:
    """Tensors of a batch of 1, at any depth of tuples, for a larger batch."""
    if part is None:
        return None
    if isinstance(part, Tensor):
        return part.expand(batch, *part.shape[1:]) if len(part) == 1 else part
    return tuple(expanded(child, batch) for child in part)
