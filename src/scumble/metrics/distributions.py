"""Distances between the features of two sets of images."""

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

# The size of the smallest subset in the published extrapolation.
EXTRAPOLATE_FROM = 5000


class GivenFeatures(nn.Module):
    """For torchmetrics' distances, which take an extractor of features: the features are given already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    """The Frechet distance of the Gaussians with the moments of two sets of features: FID, on Inception's.

    Biased upwards for few images; with no more images than features the covariance is rank-deficient.
    Shape: (N, D) and (M, D) with at least 2 images each; returns a scalar.
    Source: Heusel et al. 2017, https://arxiv.org/abs/1706.08500.
    """
    # The features are those of all processes already, and only one of them may ask.
    metric = FrechetInceptionDistance(GivenFeatures(first.shape[1]), sync_on_compute=False).to(first.device)
    for real, features in ((True, second), (False, first)):
        metric.update(features, real=real)
    distance: Tensor = metric.compute()
    return distance


def kernel_distance(first: Tensor, second: Tensor) -> Tensor:
    """The squared maximum mean discrepancy with the kernel (x . y / D + 1)^3, unbiased: KID, on Inception's features.

    Shape: (N, D) and (M, D) with at least 2 images each; returns a scalar. All images are used, not subsets.
    Source: Binkowski et al. 2018, https://arxiv.org/abs/1801.01401.
    """
    x, y = first.double(), second.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1).pow(3)

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


def extrapolated_frechet_distance(first: Tensor, second: Tensor, seed: int, points: int = 15) -> Tensor:
    """The Frechet distance for infinitely many images: a line through those of subsets, over 1 / images, at 0.

    Row i of both sets belongs together (a stylized image and the painting whose style it should have).
    Shape: two of (N, D); returns a scalar.
    Source: Chong and Forsyth 2020, https://arxiv.org/abs/1911.07023, with the subsets of ArtFID: ``points``
    sizes from 5000 to N.
    Raises: ValueError for fewer than 5000 images.
    """
    if len(first) < EXTRAPOLATE_FROM:
        raise ValueError(f"an extrapolated Frechet distance needs at least {EXTRAPOLATE_FROM} images, got {len(first)}")
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(EXTRAPOLATE_FROM, len(first), points).long()
    distances = []
    for size in sizes.tolist():
        chosen = torch.randperm(len(first), generator=generator)[:size]
        distances.append(frechet_distance(first[chosen], second[chosen]).double())
    inverse = torch.stack([torch.ones(points, dtype=torch.double), 1 / sizes.double()], dim=1)
    line: Tensor = torch.linalg.lstsq(inverse, torch.stack(distances)[:, None]).solution
    return line[0, 0]


def diversity(features: Tensor, groups: Tensor) -> Tensor:
    """Mean squared difference of the features of two images of one group, averaged over the groups.

    A group is one content in several styles: 0 for a generator that ignores the style.
    Shape: (N, D) and (N,), the number of each image's group; returns a scalar, NaN without a group of 2.
    """
    # The mean over all pairs of (x - y)^2 is twice the unbiased variance.
    spreads = [
        2 * features[groups == group].double().var(dim=0).mean()
        for group, count in zip(*groups.unique(return_counts=True), strict=True)
        if count > 1
    ]
    return torch.stack(spreads).mean() if spreads else torch.tensor(float("nan"))
