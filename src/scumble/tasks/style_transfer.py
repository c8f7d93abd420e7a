"""Style transfer with a GAN: the core of scumble."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.losses.per_image import per_image
from scumble.losses.perceptual import content_loss, style_loss
from scumble.losses.reconstruction import anchor_loss, cycle_loss, identity_loss, total_variation_loss
from scumble.losses.temporal import next_frame, random_shift, temporal_loss
from scumble.networks.perceptual_encoders import CONTENT_LAYERS
from scumble.networks.strength import takes_strength
from scumble.tasks.adversarial import AdversarialTask
from scumble.tasks.averaging import frozen_copy
from scumble.tasks.loss_conditional import LossConditional
from scumble.tasks.manual import Logs
from scumble.tasks.measures import perceptual_distances, style_targets


class StyleTransfer(AdversarialTask):
    """G(content, style) repaints the content in the style; D tells real paintings from stylized images.

    Terms: ``adversarial``; ``content`` and ``style``, by the ``perceptual_encoder``, where ``style_statistics`` says
    what of its features is the style (``moments``, ``gram`` or ``sliced_wasserstein``); ``total_variation``;
    ``cycle``, the stylized image in the style of the content is the content again; ``identity``, an image in its own
    style stays as it is; ``temporal``, the stylized image moves with the content; ``anchor``, the stylized image stays
    near what the weights of ``init_from`` painted (:meth:`remember_start`; a run from nothing has no such term). With
    ``conditional`` D sees the style image as well.

    The content term compares the features of ``content_layers``; with ``normalized_content`` each channel without its
    mean and deviation, which are the style's, so that the two terms do not pull against each other. ``cycle`` is
    computed for the share ``cycle_share`` of the batch: it costs a forward of the generator.

    ``loss_conditional`` gives weights a range, ``{style: [0.4, 10]}``: every sample is trained with a random strength
    in [0, 1], which the generator gets as its third input, and with ``loss_weights.style`` times a factor of that
    range, see :class:`LossConditional`.
    Raises: ValueError for a range without a generator that takes a strength, and for values out of bounds.
    """

    terms = ("adversarial", "content", "style", "total_variation", "cycle", "identity", "temporal", "anchor")

    def __init__(
        self,
        conditional: bool = False,
        style_statistics: str = "moments",
        content_layers: Sequence[str] = CONTENT_LAYERS,
        normalized_content: bool = False,
        cycle_share: float = 1.0,
        loss_conditional: Mapping[str, Sequence[float]] | None = None,
        **adversarial: Any,
    ):
        super().__init__(**adversarial)
        if not 0 < cycle_share <= 1:
            raise ValueError(f"task.cycle_share must be in (0, 1], got {cycle_share}; loss_weights.cycle=0 is no cycle")
        self.conditional = conditional
        self.statistics_of, self.style_loss = style_loss(style_statistics)
        self.content_layers, self.normalized_content = tuple(content_layers), normalized_content
        self.cycle_share = cycle_share
        self.anchor: nn.Module | None = None
        self.loss_conditional = LossConditional(loss_conditional, self.terms) if loss_conditional else None
        if self.loss_conditional and not takes_strength(self.generator):
            raise ValueError(
                f"task.loss_conditional needs a generator that takes a strength, and {type(self.generator).__name__} "
                "takes none; use generator=painter, or set task.loss_conditional=null"
            )
        if self.loss_conditional and "cycle" in self.loss_conditional.ranges and cycle_share < 1:
            raise ValueError("task.loss_conditional.cycle needs a cycle for every sample: set task.cycle_share=1")

    def remember_start(self) -> None:
        """Keep a copy of the generator as well, for the anchor term if the run has one."""
        super().remember_start()
        if self.loss_weights.uses("anchor"):
            self.anchor = frozen_copy(self.generator)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        if any(key.startswith("anchor.") for key in state_dict):
            self.anchor = frozen_copy(self.generator)  # its weights come with the state
        return super().load_state_dict(state_dict, *args, **kwargs)

    def forward(self, content: Tensor, style: Tensor, strength: float | Tensor | None = None) -> Tensor:
        """The stylized image, by the average of the generator where there is one."""
        return self.repaint(content, style, strength, self.averaged)

    def repaint(
        self, content: Tensor, style: Tensor, strength: float | Tensor | None = None, generator: Any = None
    ) -> Tensor:
        """The content in the style, by the generator in training unless another is given."""
        generator = generator or self.generator
        stylized: Tensor = generator(content, style) if strength is None else generator(content, style, strength)
        return stylized

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        weights: dict[str, Any] = self.loss_weights.at(self.global_step)
        if self.anchor is None:
            weights.pop("anchor", None)
        strength = None
        if self.loss_conditional:
            strength = self.loss_conditional.draw(content)
            weights = self.loss_conditional.weights(strength, weights)
        logs: Logs = {}

        # Both phases share one forward of the generator.
        with torch.set_grad_enabled(self.is_generators_turn):
            stylized = self.repaint(content, style, strength)

        # Discriminator: real paintings against stylized images.
        if "adversarial" in weights:
            logs |= self.update_discriminator(style, stylized, condition=style)

        # Generator: the weighted sum of the terms.
        if self.is_generators_turn:
            logs |= self.update_generator(
                lambda: self.generator_losses(content, style, stylized, weights, strength), weights
            )

        self.finish_step(logs, progress=weights)

    def generator_losses(
        self,
        content: Tensor,
        style: Tensor,
        stylized: Tensor,
        weights: Mapping[str, float | Tensor],
        strength: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted: means, or (B,) where the weights are."""
        features = self.features(stylized) if {"content", "style"} & weights.keys() else {}
        cycled = slice(math.ceil(self.cycle_share * len(content)))
        down, right = random_shift() if "temporal" in weights else (0, 0)
        terms = {
            "adversarial": lambda mean: mean(self.adversarial_term, style, stylized, style),
            "content": lambda mean: mean(content_loss, self.content_of(features), self.content_targets(content)),
            "style": lambda mean: mean(
                self.style_loss, features, style_targets(self.features, style, self.statistics_of)
            ),
            "total_variation": lambda mean: mean(total_variation_loss, stylized),
            "cycle": lambda mean: mean(cycle_loss, self.repaint(stylized[cycled], content[cycled]), content[cycled]),
            "identity": lambda mean: mean(identity_loss, self.repaint(content, content), content),
            "temporal": lambda mean: mean(
                partial(temporal_loss, down=down, right=right),
                self.repaint(next_frame(content, down, right), style, strength),
                stylized,
            ),
            "anchor": lambda mean: mean(anchor_loss, stylized, self.painted_at_start(content, style, strength)),
        }
        return {name: terms[name](per_image if is_per_image(weights[name]) else apply) for name in weights}

    @torch.no_grad()
    def painted_at_start(self, content: Tensor, style: Tensor, strength: Tensor | None) -> Tensor:
        """What the generator made of the batch before the run trained it."""
        return self.repaint(content, style, strength, self.anchor)

    def content_of(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the content term compares: the features of the content layers, normalized if the task says so."""
        chosen = {layer: features[layer] for layer in self.content_layers}
        if not self.normalized_content:
            return chosen
        return {layer: F.instance_norm(maps.float()) for layer, maps in chosen.items()}

    @torch.no_grad()
    def content_targets(self, content: Tensor) -> dict[str, Tensor]:
        """:meth:`content_of` the photograph."""
        return self.content_of(self.features(content))

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


def is_per_image(weight: float | Tensor) -> bool:
    """Whether a weight is one for every sample."""
    return isinstance(weight, Tensor) and weight.ndim > 0


def apply(loss: Any, *inputs: Any) -> Tensor:
    """The loss of the whole batch."""
    value: Tensor = loss(*inputs)
    return value
