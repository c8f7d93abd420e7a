"""Images by themselves: the walk, the crops, the data module."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from runs import make_images

from scumble.data.image_set import ImageSet
from scumble.data.module import Images
from scumble.data.singles import Single, SingleBatches, TrainingImages, ValidationImages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("singles"), 7, seed=3)


def test_every_epoch_shows_every_image_once_from_any_start():
    whole = list(islice(SingleBatches(7, batch_size=3, seed=1), 14))
    shown = [sample.image for batch in whole for sample in batch]
    for epoch in range(6):
        assert sorted(shown[epoch * 7 : (epoch + 1) * 7]) == list(range(7))
    assert list(islice(SingleBatches(7, batch_size=3, seed=1, start=5 * 3), 9)) == whole[5:]
    ranks = [SingleBatches(7, batch_size=1, seed=1, rank=rank, world_size=3).batch(4) for rank in range(3)]
    assert [sample for rank in ranks for sample in rank] == whole[4]


def test_a_crop_is_a_pure_function_of_its_sample(folder: Path):
    images = TrainingImages(ImageSet(sorted(folder.iterdir()), 20), image_size=12, crop_scale=(0.5, 1.0))
    first = images[Single(2, seed=5)]["image"]
    assert first.shape == (3, 12, 12)
    torch.manual_seed(9)
    assert torch.equal(images[Single(2, seed=5)]["image"], first)
    assert not torch.equal(images[Single(2, seed=6)]["image"], first)


def test_validation_images_are_fixed_and_at_most_as_many_as_there_are(folder: Path):
    images = ImageSet(sorted(folder.iterdir()), 20)
    assert len(ValidationImages(images, 12, count=3)) == 3
    fixed = ValidationImages(images, 12, count=30)
    assert len(fixed) == 7
    assert fixed[6]["image"].shape == (3, 12, 12)
    assert torch.equal(fixed[6]["image"], fixed[6]["image"])


def test_the_data_module_splits_its_one_source(folder: Path):
    data = Images(folder, seed=0, image_size=12, batch_size=2, validation_fraction=0.4, validation_size=16)
    data.prepare_data()
    data.setup()
    split = data.splits["image"]
    assert len(split.train) + len(split.validation) == 7
    images, walk, sizes = data.training_set()
    assert sizes == {"images": len(split.train)}
    assert images[walk(**sizes, batch_size=2, seed=0).batch(0)[0]]["image"].shape == (3, 12, 12)
    assert data.validation_set()[0]["image"].shape == (3, 16, 16)
