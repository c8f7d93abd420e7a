"""Losses on pixels."""

from torch import Tensor
from torch.nn import functional as F


def total_variation_loss(images: Tensor) -> Tensor:
    """Mean absolute difference of vertical neighbours plus that of horizontal neighbours (anisotropic).

    Shape: images (B, C, H, W). A checkerboard of 0 and 1 has 2.0.
    Source: Rudin, Osher and Fatemi 1992; the L1 form of Mahendran and Vedaldi 2015, section 3.2 with beta = 1,
    https://arxiv.org/abs/1412.0035.
    Departs from the paper: the mean instead of the sum, so that the weight does not depend on the image size.
    """
    vertical = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    horizontal = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return vertical + horizontal


def cycle_loss(reconstructed: Tensor, content: Tensor) -> Tensor:
    """Mean absolute difference between the content image and its reconstruction from the stylized image.

    Source: Zhu et al. 2017, equation 2, https://arxiv.org/abs/1703.10593.
    """
    return F.l1_loss(reconstructed, content)


def identity_loss(unchanged: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference between an image and itself, stylized with itself as the style.

    Source: Taigman et al. 2017, equation 6, https://arxiv.org/abs/1611.02200; Zhu et al. 2017, section 5.2.
    """
    return F.l1_loss(unchanged, image)


def anchor_loss(stylized: Tensor, at_start: Tensor) -> Tensor:
    """Mean absolute difference between a stylized image and the one that the generator painted before training.

    It keeps a trained generator near its start where a weaker judge than the one it was trained with would lead it
    astray.
    Source: Li and Hoiem 2016, section 3, https://arxiv.org/abs/1606.09282 (learning without forgetting).
    Departs from the paper: images and L1 in place of class probabilities and their cross-entropy.
    """
    return F.l1_loss(stylized, at_start)


def reconstruction_loss(restored: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference between a restored image and the image as it was.

    Source: Isola et al. 2017, equation 3, https://arxiv.org/abs/1611.07004: less blurred than the squared difference.
    """
    return F.l1_loss(restored, image)
