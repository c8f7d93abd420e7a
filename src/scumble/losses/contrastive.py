"""The contrastive loss of patches."""

import torch
from torch import Tensor
from torch.nn import functional as F


def patch_nce_loss(query: Tensor, key: Tensor, temperature: float = 0.07) -> Tensor:
    """Cross-entropy of finding, among the patches of an image, the one that a code was made from.

    With codes q and k of length 1, position p and temperature t:
    -log(exp(q_p . k_p / t) / sum over r of exp(q_p . k_r / t)), the mean over positions and images. The other patches
    of the same image are the negatives.

    Shape: query and key (B, P, D), normalised; no gradient goes to ``key``.
    Source: Park et al. 2020, equations 2 and 3, https://arxiv.org/abs/2007.15651.
    """
    logits = query @ key.detach().mT / temperature  # (B, P, P): rows are queries
    place = torch.arange(query.shape[1], device=query.device).expand(len(query), -1)
    return F.cross_entropy(logits.flatten(0, 1), place.flatten())
