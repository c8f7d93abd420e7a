"""The data module: pairs of a content set and a style set, for training and for validation."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from scumble.data.folders import Folders
from scumble.data.image_set import ImageSet
from scumble.data.pairs import PairBatches, TrainingPairs, ValidationPairs
from scumble.data.sources import ImageSource, Split

Source = ImageSource | str | Path | Sequence[str | Path]


class ContentStylePairs(L.LightningDataModule):
    """Batches ``{"content": (B, 3, H, W), "style": (B, 3, H, W)}`` of floats in [0, 1].

    ``content`` and ``style`` are folders (one or several, nested) or any other :class:`ImageSource`. Training images
    are random square crops of ``image_size``, whose side is a fraction in ``crop_scale`` of the shorter side, after the
    image has been reduced to a shorter side of ``load_size``. Validation images are center crops of
    ``validation_size``; ``validation_pairs`` of them, always the same.
    """

    def __init__(
        self,
        content: Source,
        style: Source,
        *,
        seed: int,
        image_size: int,
        batch_size: int,
        load_size: int | None = None,
        crop_scale: tuple[float, float] = (0.5, 1.0),
        validation_size: int = 128,
        validation_pairs: int = 16,
        validation_batch_size: int = 8,
        validation_fraction: float = 0.1,
        strict: bool = False,
        cache_gib: float = 1.0,
        num_workers: int = 0,
    ):
        super().__init__()
        for name, value in (
            ("image_size", image_size),
            ("batch_size", batch_size),
            ("validation_size", validation_size),
        ):
            if value < 1:
                raise ValueError(f"data.{name} must be at least 1, got {value}")
        self.sources: dict[str, ImageSource] = {
            name: _as_source(source, f"data.{name}", validation_fraction, strict)
            for name, source in (("content", content), ("style", style))
        }
        self.seed, self.image_size, self.batch_size = seed, image_size, batch_size
        self.load_size = load_size or 2 * image_size
        self.crop_scale = (float(crop_scale[0]), float(crop_scale[1]))
        self.validation_size, self.validation_pairs = validation_size, validation_pairs
        self.validation_batch_size = validation_batch_size
        self.cache_bytes = int(cache_gib * 2**30)
        self.num_workers = num_workers
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
        train = {
            name: ImageSet(split.train, self.load_size, self.cache_bytes // 2) for name, split in self.splits.items()
        }
        self.training_pairs = TrainingPairs(train["content"], train["style"], self.image_size, self.crop_scale)
        # With too few images for a validation split, the training images are looked at instead.
        held_out = {
            name: ImageSet(split.validation or split.train, self.validation_size) for name, split in self.splits.items()
        }
        self.held_out_pairs = ValidationPairs(
            held_out["content"], held_out["style"], self.validation_size, self.validation_pairs
        )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        assert self.trainer is not None
        batches = PairBatches(
            contents=len(self.training_pairs.content),
            styles=len(self.training_pairs.style),
            batch_size=self.batch_size,
            seed=self.seed,
            start=self.trainer.global_step,  # Lightning has restored it when it asks for the loader
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(self.training_pairs, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        assert self.trainer is not None
        pairs = range(self.trainer.global_rank, len(self.held_out_pairs), self.trainer.world_size)
        return self._loader(self.held_out_pairs, sampler=pairs, batch_size=self.validation_batch_size)

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            dataset,
            num_workers=self.num_workers,
            worker_init_fn=_ignore_signals,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            **options,
        )


def _as_source(source: Source, name: str, validation_fraction: float, strict: bool) -> ImageSource:
    if isinstance(source, str | Path | Sequence):
        return Folders(source, validation_fraction=validation_fraction, strict=strict, name=name)
    return source


def _ignore_signals(worker: int) -> None:
    """Leave signals to the main process: a scheduler sends them to every process of the job."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
