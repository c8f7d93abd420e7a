"""Style transfer with a GAN: the core of scumble."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scumble.losses.perceptual import content_loss, style_loss
from scumble.losses.reconstruction import cycle_loss, identity_loss, total_variation_loss
from scumble.tasks.adversarial import AdversarialTask
from scumble.tasks.manual import Logs
from scumble.tasks.measures import content_targets, perceptual_distances, style_targets


class StyleTransfer(AdversarialTask):
    """G(content, style) repaints the content in the style; D tells real paintings from stylized images.

    Terms: ``adversarial``; ``content`` and ``style``, by the ``perceptual_encoder``, where ``style_statistics`` says
    what of its features is the style (``moments``, ``gram`` or ``sliced_wasserstein``); ``total_variation``;
    ``cycle``, the stylized image in the style of the content is the content again; ``identity``, an image in its own
    style stays as it is. With ``conditional`` D sees the style image as well.
    """

    terms = ("adversarial", "content", "style", "total_variation", "cycle", "identity")

    def __init__(self, conditional: bool = False, style_statistics: str = "moments", **adversarial: Any):
        super().__init__(**adversarial)
        self.conditional = conditional
        self.statistics_of, self.style_loss = style_loss(style_statistics)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """The stylized image, by the average of the generator where there is one."""
        stylized: Tensor = self.averaged(content, style)
        return stylized

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        weights = self.loss_weights.at(self.global_step)
        logs: Logs = {}

        # Both phases share one forward of the generator.
        with torch.set_grad_enabled(self.is_generators_turn):
            stylized = self.generator(content, style)

        # Discriminator: real paintings against stylized images.
        if "adversarial" in weights:
            logs |= self.update_discriminator(style, stylized, condition=style)

        # Generator: the weighted sum of the terms.
        if self.is_generators_turn:
            logs |= self.update_generator(lambda: self.generator_losses(content, style, stylized, weights), weights)

        self.finish_step(logs, progress=weights)

    def generator_losses(
        self, content: Tensor, style: Tensor, stylized: Tensor, names: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted."""
        features = self.features(stylized) if {"content", "style"} & names.keys() else {}
        terms = {
            "adversarial": lambda: self.adversarial_loss.generator(self.judge(stylized, style)),
            "content": lambda: content_loss(features, content_targets(self.features, content)),
            "style": lambda: self.style_loss(features, style_targets(self.features, style, self.statistics_of)),
            "total_variation": lambda: total_variation_loss(stylized),
            "cycle": lambda: cycle_loss(self.generator(stylized, content), content),
            "identity": lambda: identity_loss(self.generator(content, content), content),
        }
        return {name: terms[name]() for name in names}

    def judge(self, images: Tensor, condition: Tensor | None) -> Any:
        """The discriminator's logits; a conditional one also sees a mirrored style, lest it look for equal pixels."""
        if not self.conditional or condition is None:
            return self.discriminator(images)
        return self.discriminator(images, condition.flip(-1))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        distances = perceptual_distances(self.features, self(content, style), content, style)
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

    def variations(self, batch: dict[str, Tensor]) -> Tensor | None:
        """One content in all styles of the batch: a generator that ignores the style makes them equal.

        None if the styles are all the same, as they are with one painting.
        """
        content, style = batch["content"], batch["style"]
        if torch.equal(style, style[:1].expand_as(style)):
            return None
        stylized: Tensor = self(content[:1].expand_as(style), style)
        return stylized
