"""The data modules: endless training batches and a fixed validation set, from one set of images or pairs of two."""

import hashlib
import logging
import math
import signal
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scumble.data.folders import Folders
from scumble.data.image_set import ImageSet
from scumble.data.pairs import PairBatches, SamePairs, TrainingPairs, ValidationPairs
from scumble.data.singles import SingleBatches, TrainingImages, ValidationImages
from scumble.data.sources import ImageSource, Split
from scumble.data.walk import EndlessBatches
from scumble.resume import ResumeError

log = logging.getLogger(__name__)

Source = ImageSource | str | Path | Sequence[str | Path]
Batch = dict[str, Tensor]


class EndlessData(L.LightningDataModule):
    """Loaders whose training batches are endless and a pure function of the position; a subclass says of what.

    The position counts the images (or pairs) that the run has seen. A checkpoint holds it, so a resume with another
    ``batch_size`` or number of processes goes on at the next image, and within an epoch none is lost or repeated.
    """

    def __init__(self, *, seed: int, batch_size: int, validation_batch_size: int = 8, num_workers: int = 0):
        super().__init__()
        for name, value in (("batch_size", batch_size), ("validation_batch_size", validation_batch_size)):
            if value < 1:
                raise ValueError(f"data.{name} must be at least 1, got {value}")
        self.seed, self.batch_size, self.validation_batch_size = seed, batch_size, validation_batch_size
        self.num_workers = num_workers
        self._first_step, self._first_position, self._restored_position = 0, 0, None

    @abstractmethod
    def training_set(self) -> tuple[Dataset[Batch], type[EndlessBatches[Any]], dict[str, int]]:
        """The data set, the walk that asks it for samples, and the sizes of what is walked."""

    @abstractmethod
    def validation_set(self) -> Dataset[Batch]:
        """A data set of a fixed length."""

    @cached_property
    def fingerprint(self) -> str:
        """:meth:`compute_fingerprint`, once: every checkpoint holds it."""
        return self.compute_fingerprint()

    @abstractmethod
    def compute_fingerprint(self) -> str:
        """A hash that tells whether the training images are the same ones, in the same order."""

    def state_dict(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises: ResumeError if the training images are not those of the run so far."""
        if state_dict.get("fingerprint", self.fingerprint) != self.fingerprint:
            raise ResumeError(
                "the training images are not those that the run was started with (files were added, removed, renamed "
                "or changed); put them back, or start a new run in another run_dir"
            )
        self._restored_position = state_dict.get("position")

    @property
    def global_batch_size(self) -> int:
        """The size of the batch of all ranks together."""
        assert self.trainer is not None
        return self.batch_size * self.trainer.world_size

    @property
    def position(self) -> int:
        """How many images the run has seen, of all ranks together."""
        assert self.trainer is not None
        return self._first_position + (self.trainer.global_step - self._first_step) * self.global_batch_size

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        dataset, walk, sizes = self.training_set()
        self._first_step = self.trainer.global_step  # Lightning has restored it when it asks for the loader
        restored = self._restored_position
        self._first_position = self._first_step * self.global_batch_size if restored is None else restored
        batches = walk(
            **sizes,
            batch_size=self.batch_size,
            seed=self.seed,
            start=self._first_position,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(dataset, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        dataset = self.validation_set()
        images: int = len(dataset)  # type: ignore[arg-type]
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        own = validation_batches(images, self.validation_batch_size, rank, ranks)
        return self._loader(dataset, batch_sampler=own)

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            num_workers=self.num_workers,
            worker_init_fn=_ignore_signals,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            **options,
        )


def validation_batches(images: int, batch_size: int, rank: int, ranks: int) -> list[list[int]]:
    """The batches that a rank validates: those of one process, dealt out in turn, since metrics may be of a batch.

    If they are fewer than the ranks they are made smaller; with fewer images than ranks all validate all of them.
    """
    if images < ranks:
        rank, ranks = 0, 1
    if math.ceil(images / batch_size) < ranks:
        batch_size = max(1, images // ranks)
    batches = [list(range(first, min(first + batch_size, images))) for first in range(0, images, batch_size)]
    return batches[rank::ranks]


class _ImageFiles(EndlessData):
    """Images from named sources, cut to squares.

    A source is one or several folders (nested), or any other :class:`ImageSource`. Training images are random square
    crops of ``image_size``, whose side is a fraction in ``crop_scale`` of the shorter side, after the image has been
    reduced to a shorter side of ``load_size``. Validation images are center crops of ``validation_size``.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        image_size: int,
        load_size: int | None = None,
        crop_scale: tuple[float, float] = (0.5, 1.0),
        validation_size: int = 128,
        validation_fraction: float = 0.1,
        strict: bool = False,
        cache_gib: float = 1.0,
        **loaders: Any,
    ):
        super().__init__(**loaders)
        for name, value in (("image_size", image_size), ("validation_size", validation_size)):
            if value < 1:
                raise ValueError(f"data.{name} must be at least 1, got {value}")
        self.sources = {
            name: _as_source(source, f"data.{name}", validation_fraction, strict) for name, source in sources.items()
        }
        self.image_size, self.validation_size = image_size, validation_size
        self.load_size = load_size or 2 * image_size
        self.crop_scale = (float(crop_scale[0]), float(crop_scale[1]))
        self.cache_bytes = int(cache_gib * 2**30)
        self.trims: dict[str, float] = {}
        self.splits: dict[str, Split] = {}

    def prepare_data(self) -> None:
        for source in self.sources.values():
            source.prepare()

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        self.splits = {name: source.split() for name, source in self.sources.items()}
        for name, split in self.splits.items():
            if not split.train:
                raise ValueError(f"data.{name} has no training images; set another folder or data.validation_fraction")
        log.info("; ".join(_described(name, self.sources[name], split) for name, split in self.splits.items()))

    def compute_fingerprint(self) -> str:
        """By the names and sizes of the files, wherever their folders are."""
        known = hashlib.sha256()
        for name, split in self.splits.items():
            known.update(name.encode())
            for path in split.train:
                known.update(f"\n{path.name} {path.stat().st_size}".encode())
        return known.hexdigest()[:16]

    def training_images(self, name: str) -> ImageSet:
        paths, cache_bytes = self.splits[name].train, self.cache_bytes // len(self.splits)
        return ImageSet(paths, self.load_size, cache_bytes, self.trims.get(name, 0.0))

    def held_out_images(self, name: str) -> ImageSet:
        split = self.splits[name]
        # With too few images for a validation split, the training images are looked at instead.
        return ImageSet(split.validation or split.train, self.validation_size, trim=self.trims.get(name, 0.0))


class ContentStylePairs(_ImageFiles):
    """Batches ``{"content": (B, 3, H, W), "style": (B, 3, H, W)}`` of floats in [0, 1].

    ``validation_pairs`` pairs of held-out images are always the same. With the probability ``style_colours`` a style
    image of a training batch gets other colours (see :func:`~scumble.data.colours.random_colour_change`).
    ``trim`` is the share cut from each side of all style images: the frames and mats of photographed paintings.
    Raises: ValueError for a ``style_colours`` outside [0, 1] or a ``trim`` outside [0, 0.4].
    """

    def __init__(
        self,
        content: Source,
        style: Source,
        *,
        validation_pairs: int = 16,
        style_colours: float = 0.0,
        trim: float = 0.0,
        **options: Any,
    ):
        super().__init__({"content": content, "style": style}, **options)
        if not 0 <= style_colours <= 1:
            raise ValueError(f"data.style_colours is a probability from 0 to 1, got {style_colours}")
        if not 0 <= trim <= 0.4:
            raise ValueError(f"data.trim is the share cut from each side, from 0 to 0.4, got {trim}")
        self.validation_pairs, self.style_colours = validation_pairs, style_colours
        self.trims = {"style": trim}

    def training_set(self) -> tuple[Dataset[Batch], type[EndlessBatches[Any]], dict[str, int]]:
        content, style = self.training_images("content"), self.training_images("style")
        pairs = TrainingPairs(content, style, self.image_size, self.crop_scale, self.style_colours)
        return pairs, PairBatches, {"contents": len(content), "styles": len(style)}

    def validation_set(self) -> Dataset[Batch]:
        content, style = self.held_out_images("content"), self.held_out_images("style")
        return ValidationPairs(content, style, self.validation_size, self.validation_pairs)


class FixedPairs(ContentStylePairs):
    """Every batch holds the same ``batch_size`` pairs, those that are validated: for tasks that optimize the images.

    Raises: ValueError if there are fewer different pairs, or for ``style_colours``, since nothing is drawn.
    """

    def __init__(self, content: Source, style: Source, *, batch_size: int, **options: Any):
        options |= {"validation_pairs": batch_size, "validation_batch_size": batch_size}
        super().__init__(content, style, batch_size=batch_size, **options)
        if self.style_colours:
            raise ValueError(f"data.style_colours must be 0 for fixed pairs, got {self.style_colours}")

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        different = len(self.held_out_images("content")) * len(self.held_out_images("style"))
        if different < self.batch_size:
            raise ValueError(
                f"data.batch_size is {self.batch_size}, but data.content and data.style make only {different} "
                f"different pairs; set data.batch_size={different} or less"
            )

    def training_set(self) -> tuple[Dataset[Batch], type[EndlessBatches[Any]], dict[str, int]]:
        return self.validation_set(), SamePairs, {"pairs": self.batch_size}


class Images(_ImageFiles):
    """Batches ``{"image": (B, 3, H, W)}`` of floats in [0, 1].

    Up to ``validation_images`` held-out images are always the same.
    """

    def __init__(self, image: Source, *, validation_images: int = 16, **options: Any):
        super().__init__({"image": image}, **options)
        self.validation_images = validation_images

    def training_set(self) -> tuple[Dataset[Batch], type[EndlessBatches[Any]], dict[str, int]]:
        images = self.training_images("image")
        return TrainingImages(images, self.image_size, self.crop_scale), SingleBatches, {"images": len(images)}

    def validation_set(self) -> Dataset[Batch]:
        return ValidationImages(self.held_out_images("image"), self.validation_size, self.validation_images)


def _as_source(source: Source, name: str, validation_fraction: float, strict: bool) -> ImageSource:
    if isinstance(source, str | Path | Sequence):
        return Folders(source, validation_fraction=validation_fraction, strict=strict, name=name)
    return source


def _described(name: str, source: ImageSource, split: Split) -> str:
    """Which images a set has, for the user."""
    place = source.place if isinstance(source, Folders) else type(source).__name__
    return f"data.{name}: {place}, {len(split.train)} images to train on and {len(split.validation)} held out"


def _ignore_signals(worker: int) -> None:
    """Leave signals to the main process: a scheduler sends them to every process of the job."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
