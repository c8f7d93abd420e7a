"""Gatys's method as a generator: the pixels of each stylized image are optimized when it is asked for."""

from typing import Any

import torch
from torch import Tensor, nn

from scumble.losses.perceptual import gatys_content_loss, gatys_style_loss
from scumble.losses.reconstruction import total_variation_loss
from scumble.networks.layers import Frozen, check_image_sides
from scumble.networks.perceptual_encoders import CONTENT_LAYERS, STYLE_LAYERS
from scumble.schedules import Cosine
from scumble.statistics import gram_matrix


class PixelOptimization(nn.Module):
    """The content, descended by Adam to the objective of :class:`scumble.tasks.image_optimization.ImageOptimization`.

    It has nothing to train: it stands beside trained generators in ``scumble stylize`` and ``scumble evaluate``. The
    pictures of a batch do not depend on each other. The defaults are those of ``experiment=gatys``.

    Shape: content (B, 3, H, W) and style (B, 3, h, w) to (B, 3, H, W), in [0, 1], sides of at least 16.
    Source: Gatys et al. 2016, https://doi.org/10.1109/CVPR.2016.265.
    Departs from the paper: Adam instead of L-BFGS; the rest as in ``ImageOptimization``.
    """

    minimum_side = 16

    def __init__(
        self,
        encoder: nn.Module,
        content: float = 1e-3,
        style: float = 100.0,
        total_variation: float = 20.0,
        steps: int = 200,
        learning_rate: float = 0.02,
    ):
        super().__init__()
        if steps < 1 or learning_rate <= 0:
            raise ValueError(f"steps and learning_rate must be above 0, got {steps} and {learning_rate}")
        self.encoder = Frozen(encoder)
        self.content, self.style, self.total_variation = content, style, total_variation
        self.steps, self.learning_rate = steps, Cosine(learning_rate, learning_rate / 10, steps)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        check_image_sides(self.minimum_side, content, style)
        with torch.inference_mode(False), torch.enable_grad():  # callers paint without gradients
            return self.descend(content.clone(), style.clone())

    def descend(self, content: Tensor, style: Tensor) -> Tensor:
        """The pictures after all steps."""
        with torch.no_grad():
            wanted, styles = self.encoder(content), self.encoder(style)
            content_features = {layer: wanted[layer] for layer in CONTENT_LAYERS}
            grams = {layer: gram_matrix(styles[layer]) for layer in STYLE_LAYERS}
        images = content.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([images], betas=(0.9, 0.99))
        for step in range(self.steps):
            optimizer.param_groups[0]["lr"] = self.learning_rate(step)
            optimizer.zero_grad()
            self.objective(images, content_features, grams).backward()
            optimizer.step()
            with torch.no_grad():
                images.clamp_(0, 1)
        return images.detach()

    def objective(self, images: Tensor, content_features: dict[str, Tensor], grams: dict[str, Tensor]) -> Tensor:
        """The weighted terms, summed over the batch, so that a picture's gradient does not depend on its size."""
        features: Any = self.encoder(images)
        mean = (
            self.content * gatys_content_loss(features, content_features)
            + self.style * gatys_style_loss(features, grams)
            + self.total_variation * total_variation_loss(images)
        )
        return mean * len(images)
