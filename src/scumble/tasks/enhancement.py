"""Enhancement: photographs that were taken with too little light, without pairs of dark and light ones."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.losses.perceptual import content_loss
from scumble.losses.reconstruction import identity_loss
from scumble.networks.perceptual_encoders import CONTENT_LAYERS
from scumble.tasks.adversarial import AdversarialTask
from scumble.tasks.manual import Logs
from scumble.tasks.measures import fixed_damage, psnr, ssim


class Enhancement(AdversarialTask):
    """G(dark) is enhanced; D tells well-lit photographs (``style``) from enhanced ones.

    The ``content`` photographs are seen only through ``damage``, a camera with too little light: training never uses
    them as they were, and the ``style`` photographs are others. Terms: ``adversarial``; ``content``, the perceptual
    features of the enhanced image stay those of the dark one, after an instance normalization that takes the light out
    of them (self feature preserving loss); ``identity``, a well-lit photograph stays as it is. A term of weight 0 is
    not computed; without the adversarial term there is no discriminator phase.

    Validation measures against the photographs before the damage, which is always the same there: ``psnr_dark`` and
    ``ssim_dark`` are to be compared with the ``psnr`` and ``ssim`` of the metrics.
    Source: Jiang et al. 2021, EnlightenGAN, section III, https://arxiv.org/abs/1906.06972.
    Departs from the paper: one discriminator of patches, any ``adversarial_loss`` and generator; ``identity``; the
    features are those of ``perceptual_encoder`` at relu4_1, not VGG's at relu5_1.
    """

    terms = ("adversarial", "content", "identity")

    def __init__(self, damage: nn.Module, **adversarial: Any):
        super().__init__(**adversarial)
        self.damage = damage

    def forward(self, dark: Tensor) -> Tensor:
        """The enhanced images."""
        enhanced: Tensor = self.averaged(dark)
        return enhanced

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        dark, style = self.damage(batch["content"]), batch["style"]
        weights = self.loss_weights.at(self.global_step)
        logs: Logs = {}

        # Both phases share one forward of the generator.
        with torch.set_grad_enabled(self.is_generators_turn):
            enhanced = self.generator(dark)

        # Discriminator: well-lit photographs against enhanced ones.
        if "adversarial" in weights:
            logs |= self.update_discriminator(style, enhanced)

        # Generator: the weighted sum of the terms.
        if self.is_generators_turn:
            logs |= self.update_generator(lambda: self.generator_losses(dark, style, enhanced, weights), weights)

        self.finish_step(logs, progress=weights)

    def generator_losses(
        self, dark: Tensor, style: Tensor, enhanced: Tensor, names: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted."""
        terms = {
            "adversarial": lambda: self.adversarial_term(style, enhanced),
            "content": lambda: content_loss(self.lightless_features(enhanced), self.lightless_features(dark)),
            "identity": lambda: identity_loss(self.generator(style), style),
        }
        return {name: terms[name]() for name in names}

    def lightless_features(self, images: Tensor) -> dict[str, Tensor]:
        """The features of the content layers with a mean of 0 and a deviation of 1 in every channel."""
        features = self.features(images)
        return {layer: F.instance_norm(features[layer]) for layer in CONTENT_LAYERS}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content = batch["content"]
        dark = fixed_damage(self.damage, content)
        metrics = {"psnr_dark": psnr(dark, content), "ssim_dark": ssim(dark, content)}
        self.log_validation(metrics, batch_size=len(content))

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of the grid of validation images."""
        dark = fixed_damage(self.damage, batch["content"])
        return {"content": batch["content"], "dark": dark, "enhanced": self(dark)}

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: enhanced images, which should be the photographs before the damage."""
        content = batch["content"]
        dark = fixed_damage(self.damage, content)
        return {"generated": self(dark), "real": batch["style"], "reference": content, "input": dark}
