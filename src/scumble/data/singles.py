"""Images by themselves, for tasks that have one set."""

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from scumble.data.image_set import ImageSet, center_crop, random_crop
from scumble.data.walk import EndlessBatches, visit
from scumble.seeding import SAMPLE, mix

IMAGE = 0


class Single(NamedTuple):
    """One training sample: the index of its image and the seed of its augmentation."""

    image: int
    seed: int


class SingleBatches(EndlessBatches[Single]):
    """Endless batches of images."""

    def __init__(self, images: int, batch_size: int, seed: int, **walk: int):
        super().__init__(batch_size, seed, **walk)
        self.images = images

    def sample(self, position: int) -> Single:
        return Single(visit(self.seed, IMAGE, self.images, position), mix(self.seed, SAMPLE, position))


class TrainingImages(Dataset[dict[str, Tensor]]):
    """Random crops of an image, (3, image_size, image_size) in [0, 1]."""

    def __init__(self, images: ImageSet, image_size: int, crop_scale: tuple[float, float]):
        self.images, self.image_size, self.crop_scale = images, image_size, crop_scale

    def __getitem__(self, single: Single) -> dict[str, Tensor]:
        random = np.random.default_rng(single.seed)
        return {"image": random_crop(self.images[single.image], self.image_size, random, self.crop_scale)}


class ValidationImages(Dataset[dict[str, Tensor]]):
    """Fixed center crops of the first ``count`` images."""

    def __init__(self, images: ImageSet, image_size: int, count: int):
        self.images, self.image_size, self.count = images, image_size, min(count, len(images))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": center_crop(self.images[index], self.image_size)}
