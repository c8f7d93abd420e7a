"""What tasks share whose generator takes turns with one discriminator of images."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from scumble.losses.adversarial import AdversarialLoss, accuracies
from scumble.networks.layers import Frozen
from scumble.schedules import Schedule
from scumble.tasks.manual import Logs, LossWeights, ManualTask


class AdversarialTask(ManualTask):
    """A generator, a discriminator and a frozen perceptual encoder; a subclass names the terms and writes the step."""

    terms: tuple[str, ...] = ()

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        perceptual_encoder: nn.Module,
        adversarial_loss: AdversarialLoss,
        loss_weights: Mapping[str, float | Schedule],
        **manual: Any,
    ):
        super().__init__(**manual)
        self.generator = generator
        self.discriminator = discriminator
        self.perceptual_encoder = Frozen(perceptual_encoder)
        self.adversarial_loss = adversarial_loss
        self.loss_weights = LossWeights(loss_weights, self.terms)

    def update_discriminator(self, real: Tensor, generated: Tensor) -> Logs:
        """The discriminator's turn: real against generated images. Returns what there is to log."""
        with self.toggled_optimizer(self.optimizer("discriminator")):
            logits = self.discriminator(real), self.discriminator(generated.detach())
            loss = self.adversarial_loss.discriminator(*logits)
            logs: Logs = {"discriminator": loss.detach(), **accuracies(self.adversarial_loss.boundary, *logits)}
            return logs | self.update("discriminator", loss)
