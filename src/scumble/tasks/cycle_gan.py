"""CycleGAN: photographs to paintings and back, from two sets of images without pairs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scumble.losses.adversarial import AdversarialLoss, Logits, accuracies, generator_loss
from scumble.losses.augmentation import Augmentation
from scumble.losses.reconstruction import cycle_loss, identity_loss
from scumble.networks.layers import Frozen
from scumble.schedules import Schedule
from scumble.tasks.image_pool import ImagePool
from scumble.tasks.manual import Logs, LossWeights, ManualTask
from scumble.tasks.measures import perceptual_distances

Judge = Callable[[Tensor], Logits]


class CycleGAN(ManualTask):
    """G(content) is stylized, F(style) is destylized; each is the other's inverse, each has a discriminator.

    ``generator`` is G and ``inverse_generator`` F; ``discriminator`` tells paintings from stylized images and
    ``inverse_discriminator`` photographs from destylized ones, both on pools of the last ``pool_size`` images. One
    optimizer, ``generator``, trains both generators and one, ``discriminator``, both discriminators. All images that a
    discriminator judges go through ``augmentation`` first (None: as they are).

    Terms, each the sum over both directions: ``adversarial``; ``cycle``, F(G(content)) is the content and G(F(style))
    the style; ``identity``, G leaves paintings as they are and F photographs. A term of weight 0 is not computed;
    without the adversarial term there is no discriminator phase.

    ``image_size`` is that of training, which the pools hold. Validation logs the cycle loss, and how far the stylized
    images are from content and style by the ``perceptual_encoder``, which the training does not use.
    Source: Zhu et al. 2017, https://arxiv.org/abs/1703.10593, equation 3 and section 5.2.
    """

    terms = ("adversarial", "cycle", "identity")

    def __init__(
        self,
        generator: nn.Module,
        inverse_generator: nn.Module,
        discriminator: nn.Module,
        inverse_discriminator: nn.Module,
        perceptual_encoder: nn.Module,
        adversarial_loss: AdversarialLoss,
        loss_weights: Mapping[str, float | Schedule],
        image_size: int,
        pool_size: int = 50,
        augmentation: Augmentation | None = None,
        **manual: Any,
    ):
        super().__init__(**manual)
        self.generator, self.inverse_generator = generator, inverse_generator
        self.discriminator, self.inverse_discriminator = discriminator, inverse_discriminator
        self.perceptual_encoder = Frozen(perceptual_encoder)
        self.adversarial_loss = adversarial_loss
        self.augmentation = augmentation if augmentation is not None else nn.Identity()
        self.loss_weights = LossWeights(loss_weights, self.terms)
        self.stylized_pool, self.destylized_pool = ImagePool(pool_size, image_size), ImagePool(pool_size, image_size)

    def trained_by(self, name: str) -> list[nn.Parameter]:
        """The parameters of the network of a name and of its inverse."""
        return super().trained_by(name) + super().trained_by(f"inverse_{name}")

    def forward(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """The stylized content; one generator knows one style, so ``style`` is not looked at."""
        stylized: Tensor = self.generator(content)
        return stylized

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        weights = self.loss_weights.at(self.global_step)
        logs: Logs = {}

        # Both phases share one forward of the generators.
        stylized, destylized = self.generator(content), self.inverse_generator(style)

        # Discriminators: real images against generated ones of now and before.
        if "adversarial" in weights:
            with self.toggled_optimizer(self.optimizer("discriminator")):
                loss, logs = self.discriminator_loss(content, style, stylized, destylized)
                logs |= self.update("discriminator", loss)

        # Generators: the weighted sum of the terms.
        with self.toggled_optimizer(self.optimizer("generator")):
            terms = self.generator_losses(content, style, stylized, destylized, weights)
            loss, weighted = self.weigh("generator", terms, weights)
            logs |= weighted | self.update("generator", loss)

        self.finish_step(logs, progress=weights)

    def judges_augmented(self) -> tuple[Judge, Judge]:
        """Both discriminators, of images that are augmented anew at every call."""
        return (
            lambda images: self.discriminator(self.augmentation(images)),
            lambda images: self.inverse_discriminator(self.augmentation(images)),
        )

    def discriminator_loss(
        self, content: Tensor, style: Tensor, stylized: Tensor, destylized: Tensor
    ) -> tuple[Tensor, Logs]:
        """The objective of both discriminators, and what there is to log."""
        random = self.common_random.get("cpu")
        shown, inverse_shown = self.stylized_pool(stylized, random), self.destylized_pool(destylized, random)
        judge, inverse_judge = self.judges_augmented()
        logits = judge(style), judge(shown)
        loss = self.adversarial_loss.discriminator(*logits)
        inverse = self.adversarial_loss.discriminator(inverse_judge(content), inverse_judge(inverse_shown))
        logs: Logs = {"discriminator": loss.detach(), "inverse_discriminator": inverse.detach()}
        return loss + inverse, logs | accuracies(self.adversarial_loss.boundary, *logits)

    def generator_losses(
        self, content: Tensor, style: Tensor, stylized: Tensor, destylized: Tensor, names: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The named terms of the objective of both generators, unweighted."""
        generator, inverse = self.generator, self.inverse_generator
        judge, inverse_judge = self.judges_augmented()
        judged = partial(generator_loss, self.adversarial_loss)
        terms = {
            "adversarial": lambda: judged(judge, style, stylized) + judged(inverse_judge, content, destylized),
            "cycle": lambda: cycle_loss(inverse(stylized), content) + cycle_loss(generator(destylized), style),
            "identity": lambda: identity_loss(generator(style), style) + identity_loss(inverse(content), content),
        }
        return {name: terms[name]() for name in names}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        stylized = self(content)
        metrics = {"cycle": cycle_loss(self.inverse_generator(stylized), content)}
        metrics |= perceptual_distances(self.perceptual_encoder, stylized, content, style)
        self.log_validation(metrics, batch_size=len(content))

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of the grid: each image, what it becomes, and what that becomes on the way back."""
        content, style = batch["content"], batch["style"]
        stylized, destylized = self.generator(content), self.inverse_generator(style)
        return {
            "content": content,
            "stylized": stylized,
            "content cycle": self.inverse_generator(stylized),
            "style": style,
            "destylized": destylized,
            "style cycle": self.generator(destylized),
        }

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: stylized images, which should be of the paintings and keep the content."""
        content = batch["content"]
        return {"generated": self(content), "real": batch["style"], "reference": content}
