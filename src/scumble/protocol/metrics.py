"""The tables of metrics: a metric describes images, and compares the descriptions of two."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from scumble.metrics import content, style, temporal
from scumble.metrics.distributions import (
    EXTRAPOLATE_FROM,
    diversity,
    extrapolated_frechet_distance,
    frechet_distance,
    kernel_distance,
)
from scumble.metrics.lpips import lpips_distance
from scumble.metrics.seams import line_profile, seam_strength
from scumble.metrics.spectrum import checkerboard_energy
from scumble.networks.perceptual_encoders import CONTENT_LAYERS, STYLE_LAYERS
from scumble.statistics import gram_matrix, projected_quantiles

Description = Mapping[str, Tensor]


class Seen:
    """A batch of images in [0, 1], (B, 3, H, W), and what the networks see of them: nothing is computed twice."""

    def __init__(self, images: Tensor, networks: Mapping[str, nn.Module]):
        self.images, self.networks = images, networks
        self._descriptions: dict[Describe, Description] = {}

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """The features of the perceptual encoder, by layer."""
        found: dict[str, Tensor] = self.networks["perceptual_encoder"](self.images)
        return found

    def described(self, describe: "Describe") -> Description:
        """What a metric says of these images."""
        if describe not in self._descriptions:
            self._descriptions[describe] = describe(self)
        return self._descriptions[describe]


Describe = Callable[[Seen], Description]


class Metric(NamedTuple):
    """One number for each pair: how far the description of the stylized image is from that of its content or style.

    ``of`` says of which; None is for what the stylized image shows alone. ``needs`` is the role of a network.
    """

    of: Literal["content", "style"] | None
    needs: str | None
    describe: Describe
    distance: Callable[[Description, Description], Tensor]
    higher_is_better: bool = False


class ModelMetric(NamedTuple):
    """One number for each pair that asks the model for another picture: of the content, changed by ``change``."""

    change: Callable[[Tensor, int], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]
    higher_is_better: bool = False


class SetMetric(NamedTuple):
    """One number for all pairs together, from a vector for each stylized image and for each painting.

    ``with_metric`` is the metric of pairs whose mean it takes in as well. Below ``fewest`` pairs it is refused.
    ``is_biased`` says that it needs more images than a vector has numbers.
    """

    needs: str
    describe: Describe
    compute: Callable[["Vectors"], Tensor]
    with_metric: str | None = None
    fewest: int = 2
    is_biased: bool = False
    higher_is_better: bool = False


class Vectors(NamedTuple):
    """What a metric of sets is made of.

    ``stylized`` is (pairs, D); ``style`` and ``content`` are the indices (pairs,) of each pair's images; ``styles`` is
    (S, D), a painting each; ``mean`` is that of ``with_metric`` over the pairs, 0 without one.
    """

    stylized: Tensor
    styles: Tensor
    content: Tensor
    style: Tensor
    mean: float
    seed: int


def _pixels(seen: Seen) -> Description:
    return {"": seen.images}


def _lpips(seen: Seen) -> Description:
    network: Any = seen.networks["lpips"]
    return {"": network.embed(seen.images)}


def _content_features(seen: Seen) -> Description:
    return {layer: seen.features[layer] for layer in CONTENT_LAYERS}


def _edges(seen: Seen) -> Description:
    return {"": content.edge_strength(seen.images)}


def _self_similarity(seen: Seen) -> Description:
    return {layer: content.self_similarity(seen.features[layer]) for layer in CONTENT_LAYERS}


def _moments(seen: Seen) -> Description:
    found = {layer: style.feature_moments(seen.features[layer]) for layer in STYLE_LAYERS}
    names = ("mean", "deviation")
    return {f"{layer} {name}": m for layer, both in found.items() for name, m in zip(names, both, strict=True)}


def _grams(seen: Seen) -> Description:
    return {layer: gram_matrix(seen.features[layer]) for layer in STYLE_LAYERS}


def _colours(seen: Seen) -> Description:
    return {"": style.colour_histogram(seen.images)}


def _quantiles(seen: Seen) -> Description:
    return {layer: projected_quantiles(seen.features[layer], projections=64, side=32) for layer in STYLE_LAYERS}


def _patches(seen: Seen) -> Description:
    return {layer: style.feature_patches(seen.features[layer]) for layer in CONTENT_LAYERS}


def _checkerboard(seen: Seen) -> Description:
    return {"": checkerboard_energy(seen.images)}


def _lines(seen: Seen) -> Description:
    return {"": line_profile(seen.images)}


def _encoder_vector(seen: Seen) -> Description:
    return {"": seen.features[CONTENT_LAYERS[-1]].mean(dim=(2, 3))}


def _inception_vector(seen: Seen) -> Description:
    return {"": seen.networks["inception"](seen.images)}


def _over_layers(distance: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Description, Description], Tensor]:
    """The sum of a distance over the layers of two descriptions, in the order of the first: a cache keeps none."""
    return lambda found, wanted: torch.stack([distance(found[key], wanted[key]) for key in found]).sum(dim=0)


def _alone(found: Description, wanted: Description) -> Tensor:
    return found[""]


ENCODER = "perceptual_encoder"
# What reads scores without torch knows the direction of a metric from scumble.directions.
PAIR_METRICS: dict[str, Metric] = {
    "lpips": Metric("content", "lpips", _lpips, _over_layers(lpips_distance)),
    "content_distance": Metric("content", ENCODER, _content_features, _over_layers(content.feature_distance)),
    "ssim": Metric("content", None, _pixels, _over_layers(content.ssim), higher_is_better=True),
    "edge_agreement": Metric(
        "content", None, _edges, _over_layers(content.edge_agreement), higher_is_better=True
    ),
    "self_similarity": Metric(
        "content", ENCODER, _self_similarity, _over_layers(content.self_similarity_distance)
    ),
    "style_distance": Metric("style", ENCODER, _moments, style.moment_distance),
    "gram_distance": Metric("style", ENCODER, _grams, style.gram_distance),
    "colour_distance": Metric("style", None, _colours, _over_layers(style.hellinger_distance)),
    "sliced_wasserstein": Metric("style", ENCODER, _quantiles, _over_layers(style.sliced_wasserstein_distance)),
    "patch_coherence": Metric("style", ENCODER, _patches, _over_layers(style.patch_coherence)),
    "patch_completeness": Metric("style", ENCODER, _patches, _over_layers(style.patch_completeness)),
    "checkerboard": Metric(None, None, _checkerboard, _alone),
    "seams": Metric("content", None, _lines, _over_layers(seam_strength)),
}  # fmt: skip


MODEL_METRICS: dict[str, ModelMetric] = {
    "flicker_shift": ModelMetric(lambda images, seed: temporal.shifted(images), temporal.flicker_of_shift),
    "flicker_noise": ModelMetric(temporal.noised, temporal.flicker_of_noise),
}


def _frechet(vectors: Vectors) -> Tensor:
    return frechet_distance(vectors.stylized, vectors.styles)


def _kernel(vectors: Vectors) -> Tensor:
    return kernel_distance(vectors.stylized, vectors.styles)


def _art(vectors: Vectors) -> Tensor:
    """ArtFID's product (Wright and Ommer 2022, https://arxiv.org/abs/2207.12280)."""
    return (1 + vectors.mean) * (1 + frechet_distance(vectors.stylized, vectors.styles))


def _art_extrapolated(vectors: Vectors) -> Tensor:
    styles = vectors.styles[vectors.style]
    return (1 + vectors.mean) * (1 + extrapolated_frechet_distance(vectors.stylized, styles, vectors.seed))


def _diversity(vectors: Vectors) -> Tensor:
    return diversity(vectors.stylized, vectors.content)


# The layer is in the name: distances between features are distances of that layer, and no FID.
SET_METRICS: dict[str, SetMetric] = {
    "frechet_relu4_1": SetMetric(ENCODER, _encoder_vector, _frechet, is_biased=True),
    "kernel_relu4_1": SetMetric(ENCODER, _encoder_vector, _kernel),
    "art_frechet_relu4_1": SetMetric(ENCODER, _encoder_vector, _art, with_metric="content_distance", is_biased=True),
    "fid": SetMetric("inception", _inception_vector, _frechet, is_biased=True),
    "kid": SetMetric("inception", _inception_vector, _kernel),
    "art_fid": SetMetric("inception", _inception_vector, _art, with_metric="lpips", is_biased=True),
    "art_fid_infinity": SetMetric(
        "inception", _inception_vector, _art_extrapolated, with_metric="lpips", fewest=EXTRAPOLATE_FROM
    ),
    "diversity_means_relu4_1": SetMetric(ENCODER, _encoder_vector, _diversity, higher_is_better=True),
}
# The one metric of clips: see :mod:`scumble.protocol.clips`.
CLIP_METRIC = "flicker_video"
METRICS = (*PAIR_METRICS, *MODEL_METRICS, CLIP_METRIC, *SET_METRICS)
# Old names in the protocols of earlier versions, whose scores keep them. `diversity_relu4_1` is now only the diversity
# of whole feature maps (scumble.metrics.ImageMetrics); the protocols' compares channel means, about a tenth of it.
OLD_METRICS = {"diversity_relu4_1": SET_METRICS["diversity_means_relu4_1"]}
SET_METRICS |= OLD_METRICS
