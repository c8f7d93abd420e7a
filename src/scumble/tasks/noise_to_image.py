"""Images out of noise: a generator against a discriminator, with or without labels, or against a style."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.losses.distributions import energy_distance
from scumble.losses.perceptual import style_loss
from scumble.losses.reconstruction import total_variation_loss
from scumble.networks.noise_generators import NoiseGenerator
from scumble.networks.perceptual_encoders import STYLE_LAYERS
from scumble.schedules import Schedule
from scumble.seeding import VALIDATION, mix
from scumble.tasks.adversarial import AdversarialTask
from scumble.tasks.manual import Logs
from scumble.tasks.measures import style_distance


class NoiseToImage(AdversarialTask):
    """G(noise, labels) makes images; D(images, labels) tells real images from generated ones.

    Terms: ``adversarial``; ``style``, the distance of the style statistics of generated and real images, in their
    colours and in the features of the ``perceptual_encoder``, summed over ``style_scales`` scales, each half as large
    as the one before; and ``total_variation``.

    With ``classes`` the batch's labels are given to G and D. The noise of a step is drawn from torch's default
    generator; that of validation and of the pictures is a function of ``seed``.
    Source: Goodfellow et al. 2014, algorithm 1, https://arxiv.org/abs/1406.2661; with labels Mirza and Osindero 2014,
    equation 2, https://arxiv.org/abs/1411.1784.
    Departs from the paper: D and G are judged on the same noise of a step, which is drawn once.
    """

    terms = ("adversarial", "style", "total_variation")
    samples_in_a_row = 7
    minimum_side = 8  # of what the style is judged on: relu4_1 sees one position there
    generator: NoiseGenerator

    def __init__(
        self,
        generator: NoiseGenerator,
        loss_weights: Mapping[str, float | Schedule],
        seed: int,
        perceptual_encoder: nn.Module | None = None,
        classes: int = 0,
        style_statistics: str = "gram",
        style_scales: int = 1,
        **adversarial: Any,
    ):
        if style_scales < 1:
            raise ValueError(f"task.style_scales must be at least 1, got {style_scales}")
        super().__init__(
            generator=generator, loss_weights=loss_weights, perceptual_encoder=perceptual_encoder, **adversarial
        )
        if perceptual_encoder is None and loss_weights.get("style", 0) != 0:
            raise ValueError(
                "loss_weights.style needs an encoder; set perceptual_encoder=distilled, or the weight to 0"
            )
        self.statistics_of, self.style_loss = style_loss(style_statistics)
        self.style_scales = style_scales
        self.classes = classes
        self.seed = seed

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generated images, by the average of the generator where there is one."""
        generated: Tensor = self.averaged(noise, labels)
        return generated

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images, labels = batch["image"], self.labels_of(batch)
        weights = self.loss_weights.at(self.global_step)
        logs: Logs = {}

        # Both phases share one forward of the generator.
        noise = self.noise(len(images), *self.generator.noise_shape(*images.shape[-2:]))
        with torch.set_grad_enabled(self.is_generators_turn):
            generated = self.generator(noise, labels)

        # Discriminator: real against generated images.
        if "adversarial" in weights:
            logs |= self.update_discriminator(images, generated, condition=labels)

        # Generator: the weighted sum of the terms.
        if self.is_generators_turn:
            logs |= self.update_generator(lambda: self.generator_losses(images, generated, labels, weights), weights)

        self.finish_step(logs, progress=weights)

    def generator_losses(
        self, images: Tensor, generated: Tensor, labels: Tensor | None, names: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted."""
        terms = {
            "adversarial": lambda: self.adversarial_term(images, generated, condition=labels),
            "style": lambda: self.style_term(generated, images),
            "total_variation": lambda: total_variation_loss(generated),
        }
        return {name: terms[name]() for name in names}

    def style_term(self, generated: Tensor, images: Tensor) -> Tensor:
        """The style loss of generated images against real ones, at every scale."""
        side = min(images.shape[-2:]) >> (self.style_scales - 1)
        if side < self.minimum_side:
            raise ValueError(
                f"the coarsest of task.style_scales={self.style_scales} would have a side of {side} pixels, at least "
                f"{self.minimum_side} are needed; set fewer scales or a larger data.image_size"
            )
        distances = []
        for scale in range(self.style_scales):
            reduced, real = (F.avg_pool2d(batch, 2**scale) for batch in (generated, images))
            with torch.no_grad():
                targets = {layer: self.statistics_of(maps) for layer, maps in self.style_layers(real).items()}
            distances.append(self.style_loss(self.style_layers(reduced), targets))
        return torch.stack(distances).sum()

    def style_layers(self, images: Tensor) -> dict[str, Tensor]:
        """What style is judged on: the features of the style layers, and the colours as they are."""
        features = self.features(images)
        return {"colours": images} | {layer: features[layer] for layer in STYLE_LAYERS}

    def judge(self, images: Tensor, condition: Tensor | None) -> Any:
        """The discriminator's logits for images, with labels where there are classes."""
        return self.discriminator(images, condition)

    def labels_of(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """The labels of a batch, where the networks take them."""
        if not self.classes:
            return None
        if "label" not in batch:
            raise ValueError(f"classes={self.classes} needs data with labels; set data=digits, or classes=0")
        return batch["label"]

    @torch.no_grad()
    def sample(self, count: int, height: int, width: int, labels: Tensor | None = None, draw: int = 0) -> Tensor:
        """Images (count, C, height, width) from noise that depends on the task's seed and on ``draw`` alone."""
        random = torch.Generator().manual_seed(mix(self.seed, VALIDATION, draw))
        noise = torch.randn(count, *self.generator.noise_shape(height, width), generator=random)
        return self(noise.to(self.device), labels)  # type: ignore[no-any-return]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images = batch["image"]
        height, width = images.shape[-2:]
        draw = 1 + self.number_of_validation_batch(batch_idx)
        generated = self.sample(len(images), height, width, self.labels_of(batch), draw)
        metrics = {"energy_distance": energy_distance(generated, images)}
        if self.perceptual_encoder is not None:
            metrics["style_distance"] = style_distance(self.features, generated, images)
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
