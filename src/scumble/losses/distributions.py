"""Distances between two sets of samples."""

import math

import torch
from torch import Tensor


def energy_distance(first: Tensor, second: Tensor) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'|: 0 only for two sets of one distribution.

    |x - y| is the root mean square difference of two samples. The estimate is unbiased, so that its mean over batches
    estimates the same distance, and may be below 0; a set of a single sample counts as constant, which is not.
    Shape: first (N, ...) and second (M, ...), samples of one shape, in any range; returns a scalar.
    Source: Székely and Rizzo 2013, section 2, https://doi.org/10.1016/j.jspi.2013.03.018.
    Departs from the paper: distances are divided by the root of the number of dimensions, and a sample is not compared
    with itself.
    """
    x, y = first.flatten(1), second.flatten(1)

    def distances(a: Tensor, b: Tensor) -> Tensor:
        # The matrix product that cdist would take for many samples loses what is close together.
        distance: Tensor = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        return distance / math.sqrt(x.shape[1])

    def within(a: Tensor) -> Tensor:
        return distances(a, a).sum() / max(len(a) * (len(a) - 1), 1)

    return 2 * distances(x, y).mean() - within(x) - within(y)
