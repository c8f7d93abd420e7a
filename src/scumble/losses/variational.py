"""The two terms of the evidence lower bound, in nats for each image."""

from torch import Tensor
from torch.nn import functional as F


def bernoulli_reconstruction_loss(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(image | latent) for independent Bernoulli pixels: the binary cross-entropy, summed over an image's pixels.

    Shape: logits and images (B, C, H, W), images in [0, 1]; the mean over the batch. Gray pixels make it the
    cross-entropy and not a probability; its least value is then above 0, where the image is reconstructed exactly.
    Source: Kingma and Welling 2014, appendix C.1, https://arxiv.org/abs/1312.6114.
    """
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) = (mean^2 + variance - 1 - log variance) / 2, summed over the latent numbers.

    Shape: mean and log_variance (B, D); the mean over the batch.
    Source: Kingma and Welling 2014, appendix B, https://arxiv.org/abs/1312.6114.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
