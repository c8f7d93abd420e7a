"""Style transfer without a generator: the pixels of the stylized image itself are optimized."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.losses.perceptual import gatys_content_loss, gatys_style_loss
from scumble.losses.reconstruction import total_variation_loss
from scumble.networks.layers import Frozen
from scumble.schedules import Schedule
from scumble.statistics import gram_matrix
from scumble.tasks.manual import Logs, LossWeights, ManualTask, OptimizerFactory, weigh
from scumble.tasks.measures import content_targets, perceptual_distances, style_targets


class Canvas(nn.Module):
    """The images of one level of the pyramid, (B, 3, S, S) in [0, 1], as parameters."""

    def __init__(self, pairs: int, side: int):
        super().__init__()
        self.images = nn.Parameter(torch.zeros(pairs, 3, side, side))


class ImageOptimization(ManualTask):
    """Paints ``pairs`` stylized images, the same in every batch, by descending their objective.

    The objective is the sum of ``loss_weights[name] * term``: ``content`` (weight alpha) and ``style`` (beta), as in
    the paper, and ``total_variation``. The images begin as the content, as noise or as the style (``start``). With
    ``levels`` > 1 they are painted coarse to fine: level k has half the sides of level k + 1, lasts ``steps_per_level``
    steps, and starts from the picture of the level before it, enlarged; the last one, of ``image_size``, goes on to the
    end of the run. Each level has an optimizer of its own, made by ``optimizers["images"]``. The images of a batch are
    one problem to it: L-BFGS takes one step length for all of them.

    Source: Gatys et al. 2016, https://doi.org/10.1109/CVPR.2016.265; coarse to fine as in Gatys et al. 2017,
    section 6, https://arxiv.org/abs/1611.07865.
    Departs from the paper: content at relu4_1 instead of conv4_2, style without conv5_1; every step ends with colours
    in [0, 1]; total variation.
    Raises: ValueError for a setting out of range, and for batches of another shape.
    """

    terms = ("content", "style", "total_variation")
    starts: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
        "content": lambda content, style: content,
        "noise": lambda content, style: torch.rand_like(content),
        "style": lambda content, style: style,
    }
    minimum_side = 16

    def __init__(
        self,
        perceptual_encoder: nn.Module,
        loss_weights: Mapping[str, float | Schedule],
        optimizers: Mapping[str, OptimizerFactory],
        pairs: int,
        image_size: int,
        start: str = "content",
        levels: int = 1,
        steps_per_level: int = 1,
        **manual: Any,
    ):
        if start not in self.starts:
            raise ValueError(f"task.start must be one of {', '.join(self.starts)}, got {start!r}")
        if "images" not in optimizers:
            raise ValueError(
                f"task.optimizers must have one named images, got {', '.join(optimizers)}; "
                "set optimizer=adam_images or optimizer=lbfgs_images"
            )
        if levels < 1 or steps_per_level < 1:
            raise ValueError(
                f"task.levels and task.steps_per_level must be at least 1, got {levels}, {steps_per_level}"
            )
        self.sides = [image_size >> level for level in reversed(range(levels))]
        if self.sides[0] < self.minimum_side:
            raise ValueError(
                f"the coarsest of task.levels={levels} would have a side of {self.sides[0]} pixels, at least "
                f"{self.minimum_side} are needed; set fewer levels or a larger data.image_size"
            )
        names = [f"level_{level}" for level in range(levels)]
        super().__init__(dict.fromkeys(names, optimizers["images"]), **manual)
        for name, side in zip(names, self.sides, strict=True):
            self.add_module(name, Canvas(pairs, side))
        self.perceptual_encoder = Frozen(perceptual_encoder)
        self.loss_weights = LossWeights(loss_weights, self.terms)
        self.start, self.steps_per_level = self.starts[start], steps_per_level
        self.begun: Tensor
        self.register_buffer("begun", torch.zeros((), dtype=torch.int64))  # how many levels have been started

    def forward(self) -> Tensor:
        """The pictures as they are now, (pairs, 3, S, S) in [0, 1], of the finest level that has been started."""
        return self.images(max(int(self.begun) - 1, 0)).detach()

    def images(self, level: int) -> Tensor:
        """The parameters of a level."""
        images: Tensor = getattr(self, f"level_{level}").images
        return images

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        level = min(self.global_step // self.steps_per_level, len(self.sides) - 1)
        content, style = (self.at_level(level, batch[name]) for name in ("content", "style"))
        if level == int(self.begun):
            self.begin(level, content, style)
        weights = self.loss_weights.at(self.global_step)
        content_features = content_targets(self.perceptual_encoder, content)
        style_grams = style_targets(self.perceptual_encoder, style, gram_matrix)
        logs: Logs = {}

        # One optimizer step may evaluate the objective many times; the first value, where the step begins, is logged.
        def objective() -> Tensor:
            terms = self.losses(self.images(level), content_features, style_grams, weights)
            loss, values = weigh(terms, weights)
            logs.update(values | {"objective": loss.detach()} | logs)
            return loss

        self.minimize(f"level_{level}", objective)
        with torch.no_grad():
            self.images(level).clamp_(0, 1)  # features of what is no colour could be right, and the picture wrong
        self.finish_step(logs, progress=("objective", *weights))

    def losses(
        self, images: Tensor, content_features: Mapping[str, Tensor], style_grams: Mapping[str, Tensor],
        names: Mapping[str, float],
    ) -> dict[str, Tensor]:  # fmt: skip
        """The named terms of the objective, unweighted."""
        features = self.perceptual_encoder(images) if {"content", "style"} & names.keys() else {}
        terms = {
            "content": lambda: gatys_content_loss(features, content_features),
            "style": lambda: gatys_style_loss(features, style_grams),
            "total_variation": lambda: total_variation_loss(images),
        }
        return {name: terms[name]() for name in names}

    def at_level(self, level: int, images: Tensor) -> Tensor:
        """The batch's images at the side of a level."""
        wanted = (*self.images(len(self.sides) - 1).shape,)
        if images.shape != wanted:
            raise ValueError(
                f"the batch has the shape {tuple(images.shape)}, but task.pairs and task.image_size ask for {wanted}; "
                "set data.batch_size and data.image_size, and leave those of the task to follow them"
            )
        side = self.sides[level]
        return images if side == wanted[-1] else F.interpolate(images, (side, side), mode="bilinear", antialias=True)

    @torch.no_grad()
    def begin(self, level: int, content: Tensor, style: Tensor) -> None:
        """Put the first picture of a level onto its canvas."""
        canvas = self.images(level)
        if level == 0:
            canvas.copy_(self.start(content, style))
        else:
            canvas.copy_(enlarge(self.images(level - 1), self.sides[level]))
        self.begun += 1

    def on_fit_start(self) -> None:
        """Several processes would average the gradients of different pictures."""
        if self.trainer.world_size > 1:
            raise ValueError(
                f"images are optimized by one process, got {self.trainer.world_size}; set trainer=cpu or gpu"
            )

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """How near the pictures are to content and style: the same metrics as those of a trained generator."""
        content, style = batch["content"], batch["style"]
        distances = perceptual_distances(self.perceptual_encoder, enlarge(self(), self.sides[-1]), content, style)
        self.log_validation(distances, batch_size=len(content))

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of the grid of pairs."""
        return {"content": batch["content"], "style": batch["style"], "stylized": enlarge(self(), self.sides[-1])}

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: the pictures, which should be of the paintings and keep the content."""
        return {"generated": enlarge(self(), self.sides[-1]), "real": batch["style"], "reference": batch["content"]}


def enlarge(images: Tensor, side: int) -> Tensor:
    """Images (B, C, S, S) in [0, 1] at another side, bicubic; those that have it already as they are."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bicubic").clamp(0, 1)
