"""Style transfer with a GAN: the core of scumble."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scumble.losses.adversarial import AdversarialLoss, accuracies, gradient_penalty, r1_penalty
from scumble.losses.perceptual import STYLE_LOSSES, content_loss
from scumble.losses.reconstruction import cycle_loss, identity_loss, total_variation_loss
from scumble.networks.layers import Frozen
from scumble.networks.perceptual_encoders import CONTENT_LAYERS, STYLE_LAYERS
from scumble.schedules import Schedule
from scumble.tasks.averaging import update_average
from scumble.tasks.manual import Logs, LossWeights, ManualTask
from scumble.tasks.measures import perceptual_distances


class StyleTransfer(ManualTask):
    """G(content, style) repaints the content in the style; D tells real paintings from stylized images.

    G minimises the sum of ``loss_weights[name] * term`` over the named terms; D minimises its side of
    ``adversarial_loss`` and the penalties that ``penalty_weights`` names (``r1``, ``gradient_penalty``), which are
    computed every ``penalty_interval`` steps and weighted by it (Karras et al. 2020, section 2.1,
    https://arxiv.org/abs/1912.04958). D is updated at every step, G at every ``discriminator_steps``-th, and after it
    an average of G with ``ema_decay`` (0: none), which is what validation and inference use. A term of weight 0 is not
    computed; without the adversarial term there is no discriminator phase.
    """

    terms = ("adversarial", "content", "style", "total_variation", "cycle", "identity")
    penalties: ClassVar = {"r1": r1_penalty, "gradient_penalty": gradient_penalty}

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        perceptual_encoder: nn.Module,
        adversarial_loss: AdversarialLoss,
        loss_weights: Mapping[str, float | Schedule],
        penalty_weights: Mapping[str, float | Schedule] | None = None,
        penalty_interval: int = 1,
        discriminator_steps: int = 1,
        conditional: bool = False,
        style_statistics: str = "moments",
        ema_decay: float = 0.999,
        **manual: Any,
    ):
        super().__init__(**manual)
        if discriminator_steps < 1 or penalty_interval < 1:
            raise ValueError(
                "discriminator_steps and penalty_interval must be at least 1, got "
                f"{discriminator_steps} and {penalty_interval}"
            )
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}")
        if style_statistics not in STYLE_LOSSES:
            raise ValueError(
                f"task.style_statistics must be one of {', '.join(STYLE_LOSSES)}, got {style_statistics!r}"
            )
        self.statistics_of, self.style_loss = STYLE_LOSSES[style_statistics]
        self.generator = generator
        self.generator_ema = deepcopy(generator).eval().requires_grad_(False) if ema_decay else None
        self.discriminator = discriminator
        self.perceptual_encoder = Frozen(perceptual_encoder)
        self.adversarial_loss = adversarial_loss
        self.loss_weights = LossWeights(loss_weights, self.terms)
        self.penalty_weights = LossWeights(penalty_weights or {}, self.penalties)
        self.penalty_interval = penalty_interval
        self.discriminator_steps = discriminator_steps
        self.conditional = conditional
        self.ema_decay = ema_decay

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """The stylized image, by the average of the generator where there is one."""
        generator = self.generator if self.generator_ema is None else self.generator_ema
        stylized: Tensor = generator(content, style)
        return stylized

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        weights = self.loss_weights.at(self.global_step)
        updates_generator = (self.global_step + 1) % self.discriminator_steps == 0
        logs: Logs = {}

        # Both phases share one forward of the generator.
        with torch.set_grad_enabled(updates_generator):
            stylized = self.generator(content, style)

        # Discriminator: real paintings against stylized images.
        if "adversarial" in weights:
            with self.toggled_optimizer(self.optimizer("discriminator")):
                loss, logs = self.discriminator_loss(style, stylized.detach())
                logs |= self.update("discriminator", loss)

        # Generator: the weighted sum of the terms.
        if updates_generator:
            with self.toggled_optimizer(self.optimizer("generator")):
                terms = self.generator_losses(content, style, stylized, weights)
                loss, weighted = self.weigh("generator", terms, weights)
                logs |= weighted | self.update("generator", loss, every=self.discriminator_steps)
            if self.generator_ema is not None:
                updates = (self.global_step + 1) // self.discriminator_steps
                update_average(self.generator_ema, self.generator, self.ema_decay, updates)

        self.finish_step(logs, progress=weights)

    def generator_losses(
        self, content: Tensor, style: Tensor, stylized: Tensor, names: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted."""
        features = self.perceptual_encoder(stylized) if {"content", "style"} & names.keys() else {}
        terms = {
            "adversarial": lambda: self.adversarial_loss.generator(self.judge(stylized, style)),
            "content": lambda: content_loss(features, self.content_features(content)),
            "style": lambda: self.style_loss(features, self.style_targets(style)),
            "total_variation": lambda: total_variation_loss(stylized),
            "cycle": lambda: cycle_loss(self.generator(stylized, content), content),
            "identity": lambda: identity_loss(self.generator(content, content), content),
        }
        return {name: terms[name]() for name in names}

    def discriminator_loss(self, style: Tensor, stylized: Tensor) -> tuple[Tensor, Logs]:
        """The discriminator's objective with its penalties, and what there is to log."""
        real_logits, fake_logits = self.judge(style, style), self.judge(stylized, style)
        loss = self.adversarial_loss.discriminator(real_logits, fake_logits)
        logs: Logs = {"discriminator": loss.detach()}
        logs |= accuracies(self.adversarial_loss.boundary, real_logits, fake_logits)
        if self.global_step % self.penalty_interval == 0:
            for name, weight in self.penalty_weights.at(self.global_step).items():
                penalty = self.penalties[name](lambda images: self.judge(images, style), style, stylized)
                loss = loss + weight * self.penalty_interval * penalty
                logs[name] = penalty.detach()
        return loss, logs

    def judge(self, images: Tensor, style: Tensor) -> Any:
        """The discriminator's logits; a conditional one also sees a mirrored style, lest it look for equal pixels."""
        return self.discriminator(images, style.flip(-1)) if self.conditional else self.discriminator(images)

    @torch.no_grad()
    def content_features(self, content: Tensor) -> dict[str, Tensor]:
        features = self.perceptual_encoder(content)
        return {layer: features[layer] for layer in CONTENT_LAYERS}

    @torch.no_grad()
    def style_targets(self, style: Tensor) -> dict[str, Any]:
        features = self.perceptual_encoder(style)
        return {layer: self.statistics_of(features[layer]) for layer in STYLE_LAYERS}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        distances = perceptual_distances(self.perceptual_encoder, self(content, style), content, style)
        self.log_validation(distances, batch_size=len(content))

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of the grid of validation pairs."""
        content, style = batch["content"], batch["style"]
        return {"content": content, "style": style, "stylized": self(content, style)}

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: stylized images, which should be of the paintings and keep the content."""
        content, style = batch["content"], batch["style"]
        return {"generated": self(content, style), "real": style, "reference": content}

    def variations(self, batch: dict[str, Tensor]) -> Tensor:
        """One content in all styles of the batch: a generator that ignores the style makes them equal."""
        content, style = batch["content"], batch["style"]
        stylized: Tensor = self(content[:1].expand_as(style), style)
        return stylized

    def train(self, mode: bool = True) -> "StyleTransfer":
        super().train(mode)
        if self.generator_ema is not None:
            self.generator_ema.eval()
        return self
