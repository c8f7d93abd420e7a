"""Adversarial losses and penalties on the logits of a discriminator.

A discriminator returns one tensor of logits, or a list of them (multi-scale): every loss is the mean over the logits
of a scale, then over the scales.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

Logits = Tensor | Sequence[Tensor]


class AdversarialLoss(Protocol):
    """What the discriminator and the generator minimise."""

    # Logits above it call an image real; None where only differences of logits mean something.
    boundary: float | None
    # Whether the generator's loss needs the logits of real images too.
    relativistic: bool

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Tensor:
        """The discriminator's loss: high logits for real, low for fake."""

    def generator(self, fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
        """The generator's loss: high logits for its own images; only a relativistic loss reads ``real_logits``."""


class BCE:
    """Binary cross-entropy on logits.

    Source: Goodfellow et al. 2014, section 3, https://arxiv.org/abs/1406.2661: the minimax game (``saturating=True``,
    equation 1) and the non-saturating generator loss that the authors train with.
    """

    boundary: float | None = 0.0
    relativistic = False

    def __init__(self, saturating: bool = False):
        self.saturating = saturating

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Tensor:
        real = _mean(real_logits, lambda logits: F.softplus(-logits))  # -log(sigmoid(logits))
        fake = _mean(fake_logits, F.softplus)  # -log(1 - sigmoid(logits))
        return real + fake

    def generator(self, fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
        if self.saturating:
            return -_mean(fake_logits, F.softplus)  # log(1 - sigmoid(logits))
        return _mean(fake_logits, lambda logits: F.softplus(-logits))


class LeastSquares:
    """Least squares towards 1 for real and 0 for fake, each with the factor 1/2.

    Source: Mao et al. 2017, equation 9, https://arxiv.org/abs/1611.04076.
    """

    boundary: float | None = 0.5
    relativistic = False

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Tensor:
        return 0.5 * (_mean(real_logits, lambda logits: (logits - 1).square()) + _mean(fake_logits, torch.square))

    def generator(self, fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
        return 0.5 * _mean(fake_logits, lambda logits: (logits - 1).square())


class Hinge:
    """The hinge loss of geometric GAN and SAGAN.

    Source: Lim and Ye 2017, https://arxiv.org/abs/1705.02894; Zhang et al. 2019, equation 4,
    https://arxiv.org/abs/1805.08318.
    """

    boundary: float | None = 0.0
    relativistic = False

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Tensor:
        real = _mean(real_logits, lambda logits: F.relu(1 - logits))
        fake = _mean(fake_logits, lambda logits: F.relu(1 + logits))
        return real + fake

    def generator(self, fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
        return -_mean(fake_logits, lambda logits: logits)


class Wasserstein:
    """The critic's estimate of the Wasserstein-1 distance; it needs a Lipschitz critic, so use it with a penalty.

    Source: Arjovsky et al. 2017, section 3, https://arxiv.org/abs/1701.07875.
    """

    boundary: float | None = None
    relativistic = False

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Tensor:
        return _mean(fake_logits, lambda logits: logits) - _mean(real_logits, lambda logits: logits)

    def generator(self, fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
        return -_mean(fake_logits, lambda logits: logits)


class Relativistic:
    """The logistic loss of the difference between the logits of a real and of a generated image.

    The images of a batch are paired in their order, and patches by their place. D minimises
    softplus(-(D(real) - D(fake))), G softplus(-(D(fake) - D(real))). Use it with the penalties ``r1`` and ``r2``,
    without which it need not converge.
    Source: Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734; with the penalties R3GAN, Huang et al. 2024,
    section 2, https://arxiv.org/abs/2501.05441.
    """

    boundary: float | None = None
    relativistic = True

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Tensor:
        return _mean(_differences(real_logits, fake_logits), lambda margin: F.softplus(-margin))

    def generator(self, fake_logits: Logits, real_logits: Logits | None = None) -> Tensor:
        if real_logits is None:
            raise ValueError("the relativistic loss of the generator needs the logits of real images as well")
        return _mean(_differences(fake_logits, real_logits), lambda margin: F.softplus(-margin))


def generator_loss(
    loss: AdversarialLoss, discriminator: Callable[[Tensor], Logits], real: Tensor, fake: Tensor
) -> Tensor:
    """The generator's loss of its images ``fake``; the discriminator looks at ``real`` only if it is relativistic.

    Shape: real and fake (B, C, H, W). No gradient flows through the logits of real images.
    """
    fake_logits = discriminator(fake)
    if not loss.relativistic:
        return loss.generator(fake_logits)
    with torch.no_grad():
        real_logits = discriminator(real)
    return loss.generator(fake_logits, real_logits)


def accuracies(boundary: float | None, real_logits: Logits, fake_logits: Logits) -> dict[str, Tensor]:
    """The shares of logits by which the discriminator is right on real and on fake images; empty without a boundary."""
    if boundary is None:
        return {}
    return {
        "accuracy_real": _mean(real_logits, lambda logits: (logits > boundary).float()).detach(),
        "accuracy_fake": _mean(fake_logits, lambda logits: (logits <= boundary).float()).detach(),
    }


def r1_penalty(discriminator: Callable[[Tensor], Logits], real: Tensor, fake: Tensor) -> Tensor:
    """Half the squared gradient norm of the logits at real images; ``fake`` is not used.

    Shape: real (B, C, H, W).
    Source: Mescheder et al. 2018, equation 9, https://arxiv.org/abs/1801.04406.
    """
    return 0.5 * _gradient(discriminator, real.detach()).square().sum(dim=(1, 2, 3)).mean()


def r2_penalty(discriminator: Callable[[Tensor], Logits], real: Tensor, fake: Tensor) -> Tensor:
    """Half the squared gradient norm of the logits at generated images; ``real`` is not used.

    Shape: fake (B, C, H, W).
    Source: Mescheder et al. 2018, equation 10, https://arxiv.org/abs/1801.04406.
    """
    return 0.5 * _gradient(discriminator, fake.detach()).square().sum(dim=(1, 2, 3)).mean()


def gradient_penalty(discriminator: Callable[[Tensor], Logits], real: Tensor, fake: Tensor) -> Tensor:
    """Squared distance of the gradient norm from 1 at random points between real and fake images.

    Shape: real and fake (B, C, H, W). The points are drawn from torch's default generator.
    Source: Gulrajani et al. 2017, equation 3, https://arxiv.org/abs/1704.00028.
    """
    mixture = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    between = torch.lerp(real.detach(), fake.detach(), mixture)
    # The small number keeps the derivative of the norm finite where the gradient is exactly zero.
    norm = (_gradient(discriminator, between).square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()
    return (norm - 1).square().mean()


def _gradient(discriminator: Callable[[Tensor], Logits], images: Tensor) -> Tensor:
    """The gradient of each image's summed mean logits with respect to the image, differentiable itself."""
    images = images.requires_grad_()
    logits = _scales(discriminator(images))
    total = torch.stack([scale.flatten(1).mean(dim=1) for scale in logits]).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    return gradient


def _scales(logits: Logits) -> Sequence[Tensor]:
    return [logits] if isinstance(logits, Tensor) else logits


def _differences(logits: Logits, others: Logits) -> list[Tensor]:
    return [one - other for one, other in zip(_scales(logits), _scales(others), strict=True)]


def _mean(logits: Logits, function: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([function(scale).mean() for scale in _scales(logits)]).mean()
