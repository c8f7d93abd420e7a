"""Images out of noise: a generator against a discriminator, with or without labels, or against a style."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scumble.losses.adversarial import AdversarialLoss, accuracies, gradient_penalty, r1_penalty
from scumble.losses.distributions import energy_distance
from scumble.losses.perceptual import STYLE_LOSSES, channel_moments, moment_style_loss
from scumble.losses.reconstruction import total_variation_loss
from scumble.networks.layers import Frozen
from scumble.networks.noise_generators import NoiseGenerator
from scumble.networks.perceptual_encoders import STYLE_LAYERS
from scumble.schedules import Schedule
from scumble.seeding import VALIDATION, mix
from scumble.tasks.averaging import update_average
from scumble.tasks.manual import Logs, LossWeights, ManualTask


class NoiseToImage(ManualTask):
    """G(noise, labels) makes images; D(images, labels) tells real images from generated ones.

    G minimises the sum of ``loss_weights[name] * term``: ``adversarial``, G's side of ``adversarial_loss``; ``style``,
    the distance of the style statistics of generated and real images by the ``perceptual_encoder``; and
    ``total_variation``. D minimises its side of ``adversarial_loss`` and the penalties that ``penalty_weights`` names
    (``r1``, ``gradient_penalty``), which are computed every ``penalty_interval`` steps and weighted by it. D is updated
    at every step, G at every ``discriminator_steps``-th, and after it an average of G with ``ema_decay`` (0: none),
    which is what validation and inference use. A term of weight 0 is not computed; without the adversarial term there
    is no discriminator phase.

    With ``classes`` the batch's labels are given to G and D. The noise of a step is drawn from torch's default
    generator; that of validation and of the pictures is a function of ``seed``.
    Source: Goodfellow et al. 2014, algorithm 1, https://arxiv.org/abs/1406.2661; with labels Mirza and Osindero 2014,
    equation 2, https://arxiv.org/abs/1411.1784.
    Departs from the paper: D and G are judged on the same noise of a step, which is drawn once.
    """

    terms = ("adversarial", "style", "total_variation")
    penalties: ClassVar = {"r1": r1_penalty, "gradient_penalty": gradient_penalty}
    samples_in_a_row = 7

    def __init__(
        self,
        generator: NoiseGenerator,
        discriminator: nn.Module,
        adversarial_loss: AdversarialLoss,
        loss_weights: Mapping[str, float | Schedule],
        seed: int,
        perceptual_encoder: nn.Module | None = None,
        penalty_weights: Mapping[str, float | Schedule] | None = None,
        penalty_interval: int = 1,
        discriminator_steps: int = 1,
        classes: int = 0,
        style_statistics: str = "gram",
        ema_decay: float = 0.0,
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
        self.loss_weights = LossWeights(loss_weights, self.terms)
        if perceptual_encoder is None and loss_weights.get("style", 0) != 0:
            raise ValueError(
                "loss_weights.style needs an encoder; set perceptual_encoder=distilled, or the weight to 0"
            )
        self.statistics_of, self.style_loss = STYLE_LOSSES[style_statistics]
        self.generator = generator
        self.generator_ema = deepcopy(generator).eval().requires_grad_(False) if ema_decay else None
        self.discriminator = discriminator
        self.perceptual_encoder = Frozen(perceptual_encoder) if perceptual_encoder is not None else None
        self.adversarial_loss = adversarial_loss
        self.penalty_weights = LossWeights(penalty_weights or {}, self.penalties)
        self.penalty_interval = penalty_interval
        self.discriminator_steps = discriminator_steps
        self.classes = classes
        self.seed = seed
        self.ema_decay = ema_decay

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generated images, by the average of the generator where there is one."""
        generator = self.generator if self.generator_ema is None else self.generator_ema
        generated: Tensor = generator(noise, labels)
        return generated

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images, labels = batch["image"], self.labels_of(batch)
        weights = self.loss_weights.at(self.global_step)
        updates_generator = (self.global_step + 1) % self.discriminator_steps == 0
        logs: Logs = {}

        # Both phases share one forward of the generator.
        noise = torch.randn(len(images), *self.generator.noise_shape(*images.shape[-2:]), device=self.device)
        with torch.set_grad_enabled(updates_generator):
            generated = self.generator(noise, labels)

        # Discriminator: real against generated images.
        if "adversarial" in weights:
            with self.toggled_optimizer(self.optimizer("discriminator")):
                loss, logs = self.discriminator_loss(images, generated.detach(), labels)
                logs |= self.update("discriminator", loss)

        # Generator: the weighted sum of the terms.
        if updates_generator:
            with self.toggled_optimizer(self.optimizer("generator")):
                terms = self.generator_losses(images, generated, labels, weights)
                loss, weighted = self.weigh("generator", terms, weights)
                logs |= weighted | self.update("generator", loss, every=self.discriminator_steps)
            if self.generator_ema is not None:
                updates = (self.global_step + 1) // self.discriminator_steps
                update_average(self.generator_ema, self.generator, self.ema_decay, updates)

        self.finish_step(logs, progress=weights)

    def generator_losses(
        self, images: Tensor, generated: Tensor, labels: Tensor | None, names: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted."""
        terms = {
            "adversarial": lambda: self.adversarial_loss.generator(self.discriminator(generated, labels)),
            "style": lambda: self.style_loss(self.features(generated), self.style_targets(images)),
            "total_variation": lambda: total_variation_loss(generated),
        }
        return {name: terms[name]() for name in names}

    def discriminator_loss(self, images: Tensor, generated: Tensor, labels: Tensor | None) -> tuple[Tensor, Logs]:
        """The discriminator's objective with its penalties, and what there is to log."""
        real_logits, fake_logits = self.discriminator(images, labels), self.discriminator(generated, labels)
        loss = self.adversarial_loss.discriminator(real_logits, fake_logits)
        logs: Logs = {"discriminator": loss.detach()}
        logs |= accuracies(self.adversarial_loss.boundary, real_logits, fake_logits)
        if self.global_step % self.penalty_interval == 0:
            for name, weight in self.penalty_weights.at(self.global_step).items():
                penalty = self.penalties[name](lambda points: self.discriminator(points, labels), images, generated)
                loss = loss + weight * self.penalty_interval * penalty
                logs[name] = penalty.detach()
        return loss, logs

    def features(self, images: Tensor) -> dict[str, Tensor]:
        assert self.perceptual_encoder is not None
        features: dict[str, Tensor] = self.perceptual_encoder(images)
        return features

    def labels_of(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """The labels of a batch, where the networks take them."""
        if not self.classes:
            return None
        if "label" not in batch:
            raise ValueError(f"classes={self.classes} needs data with labels; set data=digits, or classes=0")
        return batch["label"]

    @torch.no_grad()
    def style_targets(self, images: Tensor) -> dict[str, Any]:
        features = self.features(images)
        return {layer: self.statistics_of(features[layer]) for layer in STYLE_LAYERS}

    @torch.no_grad()
    def sample(self, count: int, height: int, width: int, labels: Tensor | None = None, draw: int = 0) -> Tensor:
        """Images (count, C, height, width) from noise that depends on the task's seed and on ``draw`` alone."""
        random = torch.Generator().manual_seed(mix(self.seed, VALIDATION, draw))
        noise = torch.randn(count, *self.generator.noise_shape(height, width), generator=random)
        return self(noise.to(self.device), labels)  # type: ignore[no-any-return]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images = batch["image"]
        height, width = images.shape[-2:]
        generated = self.sample(len(images), height, width, self.labels_of(batch), draw=1 + batch_idx)
        metrics = {"energy_distance": energy_distance(generated, images)}
        if self.perceptual_encoder is not None:
            moments = {layer: channel_moments(maps) for layer, maps in self.features(images).items()}
            metrics["style_distance"] = moment_style_loss(self.features(generated), moments)
        self.log_validation(metrics, batch_size=len(images))

    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Real images, and beside them samples; with classes one column for each, and one noise for each row."""
        images = batch["image"]
        rows, _, height, width = images.shape
        if self.classes:
            labels = torch.arange(self.classes, device=self.device)[:, None].expand(-1, rows)
            columns = {str(int(label[0])): self.sample(rows, height, width, label) for label in labels}
        else:
            samples = self.sample(rows * self.samples_in_a_row, height, width)
            columns = {f"sample {i}": part for i, part in enumerate(samples.split(rows), 1)}
        return {"real": images} | columns

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: samples, which should be of the real images."""
        return {"generated": self.variations(batch), "real": batch["image"]}

    def variations(self, batch: dict[str, Tensor]) -> Tensor:
        """Samples, which should not look alike; of new noise, since the metrics are of all batches together."""
        images = batch["image"]
        noise = torch.randn(len(images), *self.generator.noise_shape(*images.shape[-2:]), device=self.device)
        generated: Tensor = self(noise, self.labels_of(batch))
        return generated

    def train(self, mode: bool = True) -> "NoiseToImage":
        super().train(mode)
        if self.generator_ema is not None:
            self.generator_ema.eval()
        return self
