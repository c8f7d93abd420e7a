"""The variational autoencoder."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.losses.distributions import energy_distance
from scumble.losses.variational import bernoulli_reconstruction_loss, kl_loss
from scumble.networks.noise_generators import check_generated_size
from scumble.networks.variational import VariationalAutoencoder
from scumble.schedules import Schedule
from scumble.seeding import VALIDATION, mix
from scumble.tasks.manual import LossWeights, ManualTask


class VAE(ManualTask):
    """Maximises the evidence lower bound, ELBO = -(reconstruction + kl), in nats for each image.

    Terms: ``reconstruction``, -log p(image | latent) at one latent drawn from q(latent | image) as mean + deviation *
    noise; ``kl``, KL(q(latent | image) || N(0, 1)). With both weights at 1 their sum is -ELBO; a weight of ``kl`` other
    than 1 is a beta-VAE (Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl).
    The noise of a step is drawn from torch's default generator; that of validation is a function of ``seed``.
    Source: Kingma and Welling 2014, equations 7 and 10, https://arxiv.org/abs/1312.6114.
    """

    terms = ("reconstruction", "kl")
    between = (0.25, 0.5, 0.75)

    def __init__(
        self,
        autoencoder: VariationalAutoencoder,
        loss_weights: Mapping[str, float | Schedule],
        seed: int,
        **manual: Any,
    ):
        super().__init__(**manual)
        self.loss_weights = LossWeights(loss_weights, self.terms)
        self.autoencoder = autoencoder
        self.seed = seed

    def forward(self, images: Tensor) -> Tensor:
        """The reconstructions of images, (B, C, H, W) in [0, 1]."""
        reconstruction: Tensor = self.autoencoder(images)
        return reconstruction

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images = batch["image"]
        weights = self.loss_weights.at(self.global_step)
        noise = self.noise(len(images), self.autoencoder.latent)
        loss, logs = self.weigh("autoencoder", self.losses(images, noise, weights), weights)
        logs |= self.update("autoencoder", loss)
        self.finish_step(logs, progress=weights)

    def losses(self, images: Tensor, noise: Tensor, names: Mapping[str, float]) -> dict[str, Tensor]:
        """The named terms, unweighted."""
        mean, log_variance = self.autoencoder.encode(images)
        latent = mean + (0.5 * log_variance).exp() * noise
        terms = {
            "reconstruction": lambda: bernoulli_reconstruction_loss(self.autoencoder.decode(latent), images),
            "kl": lambda: kl_loss(mean, log_variance),
        }
        return {name: terms[name]() for name in names}

    def fixed_noise(self, count: int, draw: int = 0) -> Tensor:
        """Latents (count, latent) of the prior that depend on the task's seed and on ``draw`` alone."""
        random = torch.Generator().manual_seed(mix(self.seed, VALIDATION, draw))
        return torch.randn(count, self.autoencoder.latent, generator=random).to(self.device)

    @torch.no_grad()
    def sample(self, count: int, height: int, width: int, labels: Tensor | None = None, draw: int = 0) -> Tensor:
        """Images (count, C, height, width) in [0, 1]: the mean images of latents of the prior. It knows no labels."""
        check_generated_size(self.autoencoder.image_size, height, width)
        return self.autoencoder.decode(self.fixed_noise(count, draw)).sigmoid()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images = batch["image"]
        height, width = images.shape[-2:]
        draw = 1 + self.number_of_validation_batch(batch_idx)
        terms = self.losses(images, self.fixed_noise(len(images), draw), dict.fromkeys(self.terms, 1.0))
        samples = self.sample(len(images), height, width, draw=draw)
        metrics = {
            "elbo": -terms["reconstruction"] - terms["kl"],
            **terms,
            "reconstruction_error": F.mse_loss(self(images), images),
            "energy_distance": energy_distance(samples, images),
        }
        self.log_validation(metrics, batch_size=len(images))

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Images, their reconstructions, the way from each to the one of the next row, and samples of the prior."""
        images = batch["image"]
        mean, _ = self.autoencoder.encode(images)
        following = mean.roll(-1, dims=0)
        columns = {"image": images, "0": self(images)}
        for share in self.between:
            columns[f"{share:g}"] = self.autoencoder.decode(torch.lerp(mean, following, share)).sigmoid()
        samples = self.sample(3 * len(images), *images.shape[-2:]).chunk(3)
        return columns | {"1": self(images.roll(-1, dims=0))} | {f"sample {i}": s for i, s in enumerate(samples, 1)}

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: samples of the prior, which should be of the real images."""
        return {"generated": self.variations(batch), "real": batch["image"]}

    def variations(self, batch: dict[str, Tensor]) -> Tensor:
        """Samples, which should not look alike; of new noise, since the metrics are of all batches together."""
        noise = torch.randn(len(batch["image"]), self.autoencoder.latent, device=self.device)
        images: Tensor = self.autoencoder.decode(noise).sigmoid()
        return images
