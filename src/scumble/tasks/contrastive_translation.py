"""CUT: photographs to paintings without pairs, where each patch keeps what sets it apart from the others."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scumble.losses.contrastive import patch_nce_loss
from scumble.networks.projection import PatchProjection, random_positions
from scumble.tasks.adversarial import AdversarialTask
from scumble.tasks.manual import Logs
from scumble.tasks.measures import perceptual_distances


class ContrastiveTranslation(AdversarialTask):
    """G(content) is stylized; D tells paintings from stylized images; codes of patches tie them to the content.

    Terms: ``adversarial``; ``contrastive``, the code of a patch of the stylized image is nearer to that of the same
    patch of the content than to those of others; ``identity``, the same of G(style) and the style. CUT has all three
    with a weight of 1, FastCUT no ``identity``, 10 times ``contrastive`` and ``flip_equivariance``: in half of the
    steps G sees the content mirrored. A term of weight 0 is not computed; without the adversarial term there is no
    discriminator phase.

    ``generator`` has ``encode(images)``, a list of features with the channels ``feature_channels``
    (:class:`scumble.networks.image_to_image.ResNet`). The projection to codes of ``code`` entries belongs to the
    optimizer of the generator. ``patches`` of each map are compared. Validation logs how far the stylized images are
    from content and style by the ``perceptual_encoder``, which the training does not use.
    Raises: ValueError if the generator has no such features.
    Source: Park et al. 2020, equation 5, https://arxiv.org/abs/2007.15651.
    Departs from the paper: content and style go through the generator one after the other, not as one batch; what was
    painted mirrored is mirrored back before its features are taken, not after.
    """

    terms = ("adversarial", "contrastive", "identity")

    def __init__(
        self,
        generator: nn.Module,
        code: int = 256,
        patches: int = 256,
        temperature: float = 0.07,
        flip_equivariance: bool = False,
        **adversarial: Any,
    ):
        super().__init__(generator=generator, **adversarial)
        if not hasattr(generator, "feature_channels"):
            raise ValueError(
                f"the generator {type(generator).__name__} has no features of content alone (feature_channels and "
                "encode); set generator=resnet"
            )
        if patches < 2 or temperature <= 0:
            raise ValueError(
                f"task.patches must be at least 2 and task.temperature above 0, got {patches} and {temperature}"
            )
        self.projection = PatchProjection(generator.feature_channels, code)  # type: ignore[arg-type]
        self.patches, self.temperature = patches, temperature
        self.flip_equivariance = flip_equivariance

    def trained_by(self, name: str) -> list[nn.Parameter]:
        """The parameters of the network of a name; the generator's optimizer trains the projection as well."""
        return super().trained_by(name) + (list(self.projection.parameters()) if name == "generator" else [])

    def forward(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """The stylized content; one generator knows one style, so ``style`` is not looked at."""
        stylized: Tensor = self.averaged(content)
        return stylized

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        weights = self.loss_weights.at(self.global_step)
        logs: Logs = {}

        mirrored = self.flip_equivariance and float(torch.rand(())) < 0.5
        # Both phases share one forward of the generator.
        with torch.set_grad_enabled(self.is_generators_turn):
            stylized = self.generator(content.flip(-1)).flip(-1) if mirrored else self.generator(content)

        # Discriminator: paintings against stylized images.
        if "adversarial" in weights:
            logs |= self.update_discriminator(style, stylized)

        # Generator and projection: the weighted sum of the terms.
        if self.is_generators_turn:
            logs |= self.update_generator(lambda: self.generator_losses(content, style, stylized, weights), weights)

        self.finish_step(logs, progress=weights)

    def generator_losses(
        self, content: Tensor, style: Tensor, stylized: Tensor, names: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The named terms of the generator's objective, unweighted."""
        terms = {
            "adversarial": lambda: self.adversarial_term(style, stylized),
            "contrastive": lambda: self.contrastive(stylized, content),
            "identity": lambda: self.contrastive(self.generator(style), style),
        }
        return {name: terms[name]() for name in names}

    def contrastive(self, stylized: Tensor, content: Tensor) -> Tensor:
        """The mean over the layers of :func:`patch_nce_loss`, at random positions that all images share."""
        features = self.generator.encode(stylized)  # type: ignore[operator]
        positions = random_positions(features, self.patches)
        query = self.projection(features, positions)
        with torch.no_grad():
            key = self.projection(self.generator.encode(content), positions)  # type: ignore[operator]
        losses = [patch_nce_loss(q, k, self.temperature) for q, k in zip(query, key, strict=True)]
        return torch.stack(losses).mean()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        content, style = batch["content"], batch["style"]
        metrics = perceptual_distances(self.features, self(content), content, style)
        self.log_validation(metrics, batch_size=len(content))

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The columns of the grid of validation pairs."""
        content, style = batch["content"], batch["style"]
        return {"content": content, "style": style, "stylized": self(content), "identity": self(style)}

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the metrics look at: stylized images, which should be of the paintings and keep the content."""
        content = batch["content"]
        return {"generated": self(content), "real": batch["style"], "reference": content}
