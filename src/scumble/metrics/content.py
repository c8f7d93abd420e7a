"""How much of the content is left in a stylized image: one number for each image."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

# Rec. 709
LUMINANCE = (0.2126, 0.7152, 0.0722)


def feature_distance(features: Tensor, content_features: Tensor) -> Tensor:
    """Mean squared difference of the features of one layer.

    Shape: two of (B, C, H, W); returns (B,).
    Source: Johnson et al. 2016, section 3.2 (feature reconstruction loss), https://arxiv.org/abs/1603.08155.
    """
    return (features - content_features).square().mean(dim=(1, 2, 3))


def ssim(images: Tensor, content: Tensor) -> Tensor:
    """The structural similarity for values in [0, 1]; 1 for equal images.

    Shape: two of (B, C, H, W); returns (B,).
    Source: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861.
    """
    similarity = structural_similarity_index_measure(images, content, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor)
    return similarity.reshape(len(images))


def edge_strength(images: Tensor) -> Tensor:
    """The length of the gradient of the luminance (Rec. 709), by Sobel's filters, without the outermost pixels.

    Shape: (B, 3, H, W); returns (B, H - 2, W - 2).
    """
    grey = (images * images.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1, keepdim=True)
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    filters = torch.stack([across, across.T])[:, None]
    gradient = F.conv2d(grey, filters)
    strength: Tensor = torch.hypot(gradient[:, 0], gradient[:, 1])
    return strength


def edge_agreement(edges: Tensor, content_edges: Tensor) -> Tensor:
    """Pearson's correlation of two maps of :func:`edge_strength`, in [-1, 1]; 0 where one of them is constant.

    It asks where the edges are, not how strong: contrast may change.
    Shape: two of (B, H, W); returns (B,).
    """
    first, second = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True) for maps in (edges, content_edges))
    lengths = first.norm(dim=1) * second.norm(dim=1)
    correlation: Tensor = (first * second).sum(dim=1) / lengths.clamp_min(1e-12)
    return correlation


def self_similarity(features: Tensor, side: int = 16) -> Tensor:
    """The cosine distances between all positions of an image's features, every column divided by its sum.

    The features are first averaged on a grid of at most ``side`` x ``side`` cells.
    Shape: (B, C, H, W); returns (B, P, P) with P positions.
    Source: Kolkin et al. 2019, the content loss of STROTSS, https://arxiv.org/abs/1904.12785.
    """
    grid = F.adaptive_avg_pool2d(features, (min(side, features.shape[2]), min(side, features.shape[3])))
    unit = F.normalize(grid.flatten(2), dim=1)
    distances = (1 - unit.mT @ unit).clamp_min(0)
    return distances / distances.sum(dim=1, keepdim=True).clamp_min(1e-12)


def self_similarity_distance(similarities: Tensor, content_similarities: Tensor) -> Tensor:
    """Mean absolute difference of two matrices of :func:`self_similarity`, times the number of positions.

    What matters is which parts of an image are alike, not what they look like: colours and texture may change.
    Shape: two of (B, P, P); returns (B,).
    Departs from the paper: times P, so that the number does not shrink with the size of the image.
    """
    return (similarities - content_similarities).abs().sum(dim=(1, 2)) / similarities.shape[1]
