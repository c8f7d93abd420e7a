"""Restoration: a generator undoes a known damage of photographs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scumble.losses.perceptual import content_loss
from scumble.losses.reconstruction import reconstruction_loss
from scumble.tasks.adversarial import AdversarialTask
from scumble.tasks.manual import Logs
from scumble.tasks.measures import content_targets, fixed_damage, psnr


class Restoration(AdversarialTask):
    """G(damaged) is the photograph before ``damage``; D tells photographs from restored images.

    Terms: ``reconstruction`` (mean absolute difference from the photograph), ``content`` (that of perceptual features,
    squared) and ``adversarial``. A term of weight 0 is not computed; without the adversarial term there is no
    discriminator phase.

    ``damage`` maps images (B, 3, H, W) to damaged ones and draws from torch's default generator: in training every step
    damages anew, in validation an image is always damaged in the same way.

    Validation logs ``psnr_damaged``, to be compared with the ``psnr`` of the metrics.
    Source: the terms of Isola et al. 2017, section 3.1, https://arxiv.org/abs/1611.07004, and Ledig et al. 2017,
    section 2.2, https://arxiv.org/abs/1609.04802.
    """

    terms = ("reconstruction", "content", "adversarial")

    def __init__(self, damage: nn.Module, **adversarial: Any):
        super().__init__(**adversarial)
        self.damage = damage

    def forward(self, damaged: Tensor) -> Tensor:
        """The restored images."""
        restored: Tensor = self.averaged(damaged)
        return restored

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        image = batch["image"]
        weights = self.loss_weights.at(self.global_step)
        logs: Logs = {}

        # Both phases share one forward of the generator.
        with torch.set_grad_enabled(self.is_generators_turn):
            restored = self.generator(self.damage(image))

        # Discriminator: photographs against restored images.
        if "adversarial" in weights:
            logs |= self.update_discriminator(image, restored)

        # Generator: the weighted sum of the terms.
        if self.is_generators_turn:
            logs |= self.update_generator(lambda: self.generator_losses(image, restored, weights), weights)

        self.finish_step(logs, progress=weights)

    def generator_losses(self, image: Tensor, restored: Tensor, names: Mapping[str, float]) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted."""
        terms = {
            "reconstruction": lambda: reconstruction_loss(restored, image),
            "content": lambda: content_loss(self.features(restored), content_targets(self.features, image)),
            "adversarial": lambda: self.adversarial_term(image, restored),
        }
        return {name: terms[name]() for name in names}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        image = batch["image"]
        damaged = fixed_damage(self.damage, image)
        self.log_validation({"psnr_damaged": psnr(damaged, image)}, batch_size=len(image))

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of the grid of validation images."""
        damaged = fixed_damage(self.damage, batch["image"])
        return {"image": batch["image"], "damaged": damaged, "restored": self(damaged)}

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: restored images, which should be the photographs."""
        image = batch["image"]
        damaged = fixed_damage(self.damage, image)
        return {"generated": self(damaged), "real": image, "reference": image, "input": damaged}
