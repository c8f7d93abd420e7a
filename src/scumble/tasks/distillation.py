"""Distillation: a small perceptual encoder learns to see, and to measure distances, as a large one does."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.losses.perceptual import moment_style_loss
from scumble.networks.layers import Frozen
from scumble.networks.perceptual_encoders import CONTENT_LAYERS, VGG, DistilledEncoder, start_from_teacher
from scumble.schedules import Schedule
from scumble.statistics import channel_moments, gram_matrix
from scumble.tasks.manual import LossWeights, ManualTask

Features = Mapping[str, Tensor]


class Heads(nn.Module):
    """One 1x1 convolution per layer, from the student's features to the teacher's; for training only."""

    def __init__(self, student: Mapping[str, int], teacher: Mapping[str, int]):
        super().__init__()
        self.layers = nn.ModuleDict({layer: nn.Conv2d(student[layer], teacher[layer], 1) for layer in teacher})

    def forward(self, features: Features) -> dict[str, Tensor]:
        return {layer: head(features[layer]) for layer, head in self.layers.items()}


class Student(nn.Module):
    """The encoder that is trained, with its heads."""

    def __init__(self, encoder: nn.Module, heads: Heads):
        super().__init__()
        self.encoder, self.heads = encoder, heads


class Distillation(ManualTask):
    """Trains ``student`` (a :class:`DistilledEncoder`) to imitate ``teacher`` (a VGG) on content and style images.

    Terms: ``features``, the teacher's features predicted by linear heads; ``content``, ``style`` and ``gram``, the
    distances between images within the batch, by the student's own features and by the teacher's, compared as
    logarithms. The distances are what the losses use later, so they are trained for and not only hoped for; their
    scale is the teacher's too, so loss weights carry over from one encoder to the other. Some of the images are
    :func:`lure`d by the student. ``copy_first_filters`` starts it with some of the teacher's filters.
    Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; the distances are the relational distillation of
    Park et al. 2019, section 3.2, https://arxiv.org/abs/1904.05068.
    Departs from the paper: logarithms of squared distances instead of distances divided by their mean.
    """

    terms = ("features", "content", "style", "gram")

    def __init__(
        self,
        student: DistilledEncoder,
        teacher: nn.Module,
        loss_weights: Mapping[str, float | Schedule],
        copy_first_filters: bool = True,
        lure_steps: int = 4,
        **manual: Any,
    ):
        super().__init__(**manual)
        self.loss_weights = LossWeights(loss_weights, self.terms)
        self.lure_steps = lure_steps
        if copy_first_filters:
            if not isinstance(teacher, VGG):
                raise ValueError(
                    "task.copy_first_filters needs a VGG as the teacher, got "
                    f"{type(teacher).__name__}; set perceptual_encoder=vgg19_normalised, vgg19, vgg16 or random, or "
                    "task.copy_first_filters=false"
                )
            start_from_teacher(student, teacher)
        with torch.no_grad():
            widths = {layer: maps.shape[1] for layer, maps in teacher(torch.zeros(1, 3, 32, 32)).items()}
        self.student = Student(student, Heads(student.widths, widths))
        self.teacher = Frozen(teacher)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.student.encoder(images)
        return features

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images = related_images(batch["content"], batch["style"])
        images[-len(batch["style"]) :] = lure(
            self.student.encoder, images[-len(batch["style"]) :], batch["style"], self.lure_steps
        )
        weights = self.loss_weights.at(self.global_step)
        loss, logs = self.weigh("student", self.losses(images, weights), weights)
        logs |= self.update("student", loss)
        self.finish_step(logs, progress=weights)

    def losses(self, images: Tensor, names: Mapping[str, float]) -> dict[str, Tensor]:
        """The named terms, unweighted."""
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
            teacher = {layer: maps.float() for layer, maps in self.teacher(images).items()}
        features = self(images)
        terms = {
            "features": lambda: feature_loss(self.student.heads(features), teacher),
            "content": lambda: log_distance_loss(content_distances(features), content_distances(teacher)),
            "style": lambda: log_distance_loss(style_distances(features), style_distances(teacher)),
            "gram": lambda: log_distance_loss(gram_distances(features), gram_distances(teacher)),
        }
        return {name: terms[name]() for name in names}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images = torch.cat([batch["content"], batch["style"]])
        self.log_validation(self.losses(images, dict.fromkeys(self.terms, 1.0)), len(images))


def related_images(content: Tensor, style: Tensor) -> Tensor:
    """Content, style, and images between and beside them: what a generator in training shows its perceptual encoder.

    Shape: two of (B, 3, H, W); returns (3 B, 3, H, W). The third part is the content blended with the style, blurred,
    with noise, or with its channels scaled, at random strengths from torch's default generator.
    """
    batch = len(content)
    strength = torch.rand(batch, 1, 1, 1, device=content.device)
    blended = torch.lerp(content, style, strength)
    blurred = F.interpolate(F.avg_pool2d(content, 4), size=content.shape[-2:], mode="bilinear")
    noisy = content + 0.4 * strength * torch.randn_like(content)
    tinted = content * (0.3 + 1.4 * torch.rand(batch, 3, 1, 1, device=content.device))
    # Harmonised: the content with the colour statistics of the style, which is what a generator learns first.
    mean, deviation = channel_moments(content)
    style_mean, style_deviation = channel_moments(style)
    recoloured = (content - mean) / deviation * style_deviation + style_mean
    kinds = torch.stack([blended, blurred, noisy, tinted, recoloured])
    chosen = kinds[torch.arange(batch, device=content.device) % len(kinds), torch.arange(batch, device=content.device)]
    return torch.cat([content, style, chosen.clamp(0, 1)])


def lure(student: nn.Module, images: Tensor, style: Tensor, steps: int) -> Tensor:
    """Images after some signed gradient steps towards the style, by the student's own style distance.

    That is where a generator goes that is trained against the student. What it finds there, if it is not met in
    training, are the student's errors: a distance that is small for the student and large for the teacher.
    Source: Goodfellow et al. 2015, section 4, https://arxiv.org/abs/1412.6572; distilled as in Goldblum et al. 2020,
    section 4, https://arxiv.org/abs/1905.09747.
    """
    with torch.no_grad():
        targets = {layer: channel_moments(maps) for layer, maps in student(style).items()}
    stride = 0.06 * torch.rand(len(images), 1, 1, 1, device=images.device)
    for _ in range(steps):
        images = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(moment_style_loss(student(images), targets), images)
        images = (images - stride * gradient.sign()).clamp(0, 1)
    return images.detach()


def feature_loss(predicted: Features, teacher: Features) -> Tensor:
    """Mean squared error relative to the teacher's mean square, averaged over the layers."""
    return torch.stack(
        [F.mse_loss(predicted[layer], maps) / maps.square().mean() for layer, maps in teacher.items()]
    ).mean()


def content_distances(features: Features) -> Tensor:
    """Mean squared difference of the content layers between all pairs of images of a batch.

    Shape: features {layer: (B, C, H, W)}; returns (layers, pairs).
    """
    return torch.stack([pairwise_distances(features[layer].flatten(1)) for layer in CONTENT_LAYERS])


def style_distances(features: Features) -> Tensor:
    """Mean squared difference of channel means and deviations, per layer, between all pairs; (layers, pairs)."""
    moments = [torch.cat(channel_moments(maps), dim=1).flatten(1) for maps in features.values()]
    return torch.stack([2 * pairwise_distances(vectors) for vectors in moments])


def gram_distances(features: Features) -> Tensor:
    """Squared Frobenius distance of Gram matrices, divided by C, per layer, between all pairs; (layers, pairs)."""
    return torch.stack([maps.shape[1] * pairwise_distances(gram_matrix(maps).flatten(1)) for maps in features.values()])


def log_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the logarithms of distances."""
    return (student.clamp_min(1e-8).log() - teacher.clamp_min(1e-8).log()).square().mean()


def pairwise_distances(vectors: Tensor) -> Tensor:
    """Mean squared difference of all pairs of rows: (B, D) to (B (B - 1) / 2,)."""
    square = vectors.square().sum(dim=1)
    distances = (square[:, None] + square[None, :] - 2 * vectors @ vectors.T) / vectors.shape[1]
    first, second = torch.triu_indices(len(vectors), len(vectors), offset=1)
    return distances[first, second]


def encoder_state(task: Distillation) -> Iterator[tuple[str, Tensor]]:
    """The weights of the encoder alone, in half precision: what ships as ``distilled.safetensors``."""
    for name, tensor in task.student.encoder.state_dict().items():
        yield name, tensor.half().contiguous()
