"""What is measured of generated images, the same in training and in ``scumble evaluate``."""

import warnings
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from scumble.distributed import gather_objects, world_size
from scumble.metrics.distributions import GivenFeatures
from scumble.metrics.inception import Inception
from scumble.metrics.lpips import LPIPS
from scumble.metrics.spectrum import checkerboard_energy
from scumble.networks.layers import Frozen
from scumble.precision import in_float32

# The 5 scales of MS-SSIM with a window of 11 pixels need images of more than this.
MS_SSIM_SIDE = 160

# Not synchronised by torchmetrics, see ImageMetrics._gather.
_GATHERED: dict[str, Any] = {"sync_on_compute": False}


@runtime_checkable
class HasResults(Protocol):
    """A task whose images can be measured."""

    def results(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The images of a batch by what they are.

        ``generated``; ``real``, of the distribution that they should be of, if the task has one; ``reference``, what
        each of them should keep (the content, the clean photograph), if there is one; ``input``, what the generator was
        given, if that is not the reference (the damaged photograph).
        """


@runtime_checkable
class HasVariations(Protocol):
    """A task whose images should differ."""

    def variations(self, batch: dict[str, Tensor]) -> Tensor | None:
        """Images that should not look alike: samples, or one content in several styles; None if there are none."""


class ImageMetrics(nn.Module):
    """Visual quality, diversity and distortion of generated images.

    Every metric is the better the lower it is, but for ``psnr``, ``ssim``, ``ms_ssim`` and the diversities.

    - ``frechet_LAYER``, ``kernel_LAYER``: Frechet distance and squared maximum mean discrepancy (polynomial kernel of
      degree 3) between generated and real images, on the channel means of that layer of the configured perceptual
      encoder. They are no FID and no KID, and numbers of different encoders cannot be compared. The Frechet distance is
      biased upwards when there are few images; the kernel distance is not. Sources: Heusel et al. 2017,
      https://arxiv.org/abs/1706.08500; Binkowski et al. 2018, https://arxiv.org/abs/1801.01401.
    - ``fid``, ``kid``: the true ones, when ``inception`` names the weights of torch-fidelity's Inception.
    - ``diversity_LAYER``: mean squared difference of that layer between the images of ``variations``, all pairs of a
      batch; ``diversity_lpips`` the same by LPIPS. 0 for a generator that ignores its noise or its style.
    - ``mse``, ``psnr`` (dB), ``ssim``, ``ms_ssim`` (images of more than 160 pixels), ``lpips``: against the reference.
    - ``output_equals_input``: the share of images whose pixels differ by less than 1/255 from the input's, which is
      the reference if a task names no other.
    - ``not_finite``: the share of generated images with a NaN or an infinity; nothing else is measured of them.
    - ``checkerboard``: see :func:`scumble.metrics.spectrum.checkerboard_energy`; 1 for no grid.

    All are computed in float32, without autocast. With several processes the metrics cover the images of all of them.
    """

    def __init__(
        self,
        perceptual_encoder: nn.Module,
        layer: str = "relu4_1",
        lpips: LPIPS | None = None,
        inception: str | None = None,
    ):
        super().__init__()
        self.encoder = Frozen(perceptual_encoder)
        self.layer = layer
        self.lpips = Frozen(lpips) if lpips is not None else None
        with torch.no_grad():
            features = GivenFeatures(perceptual_encoder(torch.zeros(1, 3, 32, 32))[layer].shape[1])
        self.inception = Frozen(Inception(inception)) if inception is not None else None
        self.distributions, self.inception_distances, self.means = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*will save all extracted features in buffer.*")  # a few hundred numbers
            self.distributions[f"frechet_{layer}"] = FrechetInceptionDistance(features, **_GATHERED)
            self.distributions[f"kernel_{layer}"] = KernelInceptionDistance(features, subsets=1, **_GATHERED)
            if inception is not None:
                given = GivenFeatures(Inception.num_features)
                self.inception_distances["fid"] = FrechetInceptionDistance(given, **_GATHERED)
                self.inception_distances["kid"] = KernelInceptionDistance(given, subsets=1, **_GATHERED)

    @torch.no_grad()
    @in_float32
    def update(self, results: Mapping[str, Tensor], variations: Tensor | None = None) -> None:
        """Take in a batch; see :class:`HasResults` and :class:`HasVariations`. Images are (B, 1 or 3, H, W) in [0, 1].

        Raises: ValueError if images are not floats in [0, 1].
        """
        finite = results["generated"].isfinite().flatten(1).all(dim=1)
        self._add("not_finite", (~finite).float())
        # They would end the process: LAPACK crashes on the covariance of features that are not numbers.
        if not finite.any():
            return
        images = {name: _as_rgb(batch if name == "real" else batch[finite], name) for name, batch in results.items()}
        generated = images["generated"]
        if "real" in images:
            for name, real in (("real", True), ("generated", False)):
                features = self.encoder(images[name])[self.layer].mean(dim=(2, 3))
                for metric in self.distributions.values():
                    metric.update(features, real=real)  # type: ignore[operator]
                if self.inception is not None:
                    features = self.inception(images[name])
                    for metric in self.inception_distances.values():
                        metric.update(features, real=real)  # type: ignore[operator]
        if "reference" in images:
            for name, values in self._distortion(generated, images["reference"]).items():
                self._add(name, values)
        if (given := images.get("input", images.get("reference"))) is not None:
            self._add("output_equals_input", ((generated - given).abs().amax(dim=(1, 2, 3)) < 1 / 255).float())
        self._add("checkerboard", checkerboard_energy(generated))
        if variations is not None and len(variations) > 1 and variations.isfinite().all():
            varied = _as_rgb(variations, "variations")
            first, second = torch.triu_indices(len(varied), len(varied), offset=1)
            maps = self.encoder(varied)[self.layer]
            self._add(f"diversity_{self.layer}", (maps[first] - maps[second]).square().mean(dim=(1, 2, 3)))
            if self.lpips is not None:
                self._add("diversity_lpips", self.lpips(varied[first], varied[second]))

    def update_from(self, task: HasResults, batch: dict[str, Tensor]) -> None:
        """Take in what a task makes of a batch."""
        self.update(task.results(batch), task.variations(batch) if isinstance(task, HasVariations) else None)

    def _distortion(self, generated: Tensor, reference: Tensor) -> dict[str, Tensor]:
        difference = generated - reference
        values = {
            "mse": difference.square().mean(dim=(1, 2, 3)),
            "psnr": peak_signal_noise_ratio(generated, reference, (0.0, 1.0), reduction="none", dim=(1, 2, 3)),
            "ssim": structural_similarity_index_measure(generated, reference, data_range=1.0, reduction="none"),
        }
        if min(generated.shape[-2:]) > MS_SSIM_SIDE:
            values["ms_ssim"] = multiscale_structural_similarity_index_measure(
                generated, reference, data_range=1.0, reduction="none"
            )
        if self.lpips is not None:
            values["lpips"] = self.lpips(generated, reference)
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _add(self, name: str, values: Tensor) -> None:
        if name not in self.means:
            self.means[name] = MeanMetric(**_GATHERED).to(values.device)
        self.means[name].update(values.nan_to_num(posinf=100.0))  # type: ignore[operator]  # equal images: 100 dB

    @in_float32
    def compute(self) -> dict[str, float]:
        """The metrics of everything since the last reset; what could not be measured is not among them."""
        self._gather()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")  # it was on other ranks
            return self._compute()

    def _compute(self) -> dict[str, float]:
        found = {name: float(mean.compute()) for name, mean in self.means.items()}  # type: ignore[operator]
        for name, metric in (*self.distributions.items(), *self.inception_distances.items()):
            if isinstance(metric, KernelInceptionDistance):
                count = min(sum(map(len, features)) for features in (metric.real_features, metric.fake_features))
                if count < 2:
                    continue
                metric.subset_size = count  # all of them, but for the larger set's surplus, which is drawn
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    found[name] = float(metric.compute()[0])
            elif min(int(metric.real_features_num_samples), int(metric.fake_features_num_samples)) >= 2:  # type: ignore[arg-type]
                found[name] = float(metric.compute())  # type: ignore[operator]
        return found

    def reset(self) -> None:
        """Forget all images."""
        for metric in self._metrics().values():
            metric.reset()

    def _metrics(self) -> dict[str, Metric]:
        return {**self.means, **self.distributions, **self.inception_distances}  # type: ignore[dict-item]

    def _gather(self) -> None:
        """Take in what all ranks have seen. One may have no value of a metric, for which torchmetrics would wait."""
        if world_size() == 1:
            return
        own = {name: _to(metric.metric_state, "cpu") for name, metric in self._metrics().items()}
        of_ranks = gather_objects(own)
        device: Any = next(iter(self.distributions.values())).device
        for name in dict.fromkeys(name for states in of_ranks for name in states):
            if name not in self._metrics():
                self.means[name] = MeanMetric(**_GATHERED).to(device)
            metric = self._metrics()[name]
            metric.reset()
            for states in of_ranks:
                if name in states:
                    metric.merge_state(_to(states[name], device))


def _to(state: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """The state of a metric on another device: tensors, and lists of them."""
    return {
        name: [part.to(device) for part in value] if isinstance(value, list) else value.to(device)
        for name, value in state.items()
    }


def _as_rgb(images: Tensor, name: str) -> Tensor:
    """Grey images as three equal channels.

    Raises: ValueError if the images are not (B, 1 or 3, H, W) floats in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        raise ValueError(f"{name} must be floats (B, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}")
    low, high = images.amin(), images.amax()
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(f"{name} must be in [0, 1], got values from {low:.3g} to {high:.3g}")
    return images.float().clamp(0, 1).expand(-1, 3, -1, -1)
