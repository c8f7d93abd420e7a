import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scumble.data.image_set
from scumble.data.image_set import ImageSet, center_crop, random_crop
from scumble.data.module import ContentStylePairs
from scumble.data.pairs import Pair
from scumble.images import ImageError, write_image


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Three pictures of 40x60, 60x40 and 20x20 pixels, each of one colour."""
    for index, (height, width) in enumerate([(40, 60), (60, 40), (20, 20)]):
        write_image(torch.full((3, height, width), 0.2 * (index + 1)), tmp_path / f"{index}.png")
    return sorted(tmp_path.iterdir())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were decoded, in order."""
    calls: list[Path] = []
    read = scumble.data.image_set.read_image

    def counted(path: Path, shorter_side: int) -> torch.Tensor:
        calls.append(path)
        return read(path, shorter_side)

    monkeypatch.setattr(scumble.data.image_set, "read_image", counted)
    return calls


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8))


def test_images_have_the_shorter_side_and_their_aspect(paths):
    images = ImageSet(paths, shorter_side=30)
    assert len(images) == 3
    assert [tuple(image.shape) for image in images] == [(3, 30, 45), (3, 45, 30), (3, 30, 30)]
    assert all(image.dtype == torch.uint8 for image in images)
    assert [image.unique().tolist() for image in images] == [[51], [102], [153]]
    assert torch.equal(images[-1], images[2])
    with pytest.raises(IndexError):
        images[3]


def test_an_image_is_decoded_once(paths, decoded):
    images = ImageSet(paths, shorter_side=30)
    assert decoded == []
    for _ in range(3):
        list(images)
    assert decoded == paths


def test_a_full_cache_keeps_the_first_and_decodes_the_rest_again(paths, decoded):
    first, last = 3 * 30 * 45, 3 * 30 * 30
    images = ImageSet(paths, shorter_side=30, cache_bytes=first + last)
    once = list(images)
    assert decoded == paths
    again = list(images)
    assert decoded[3:] == [paths[1]]
    assert all(map(torch.equal, once, again))


def test_pickling_leaves_the_cache_behind(paths, decoded):
    images = ImageSet(paths, shorter_side=30)
    empty = len(pickle.dumps(images))
    list(images)
    data = pickle.dumps(images)
    assert len(data) == empty
    assert all(map(torch.equal, pickle.loads(data), images))
    assert len(decoded) == 6


def test_a_forked_process_reads_the_same_images(paths):
    images = ImageSet(paths, shorter_side=30)
    expected = images[0]
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(images[0], expected) and images[1].shape == (3, 45, 30) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_slice_is_a_set(paths):
    images = ImageSet(paths, shorter_side=30)[1:]
    assert isinstance(images, ImageSet)
    assert images.paths == paths[1:]
    assert images.shorter_side == 30


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1, 0.25, 0.4])
@pytest.mark.parametrize("shorter_side", [2, 31, 64])
def test_a_trimmed_image_has_the_shorter_side_and_its_aspect(paths, shorter_side, share):
    for image, aspect in zip(ImageSet(paths, shorter_side, trim=share), (1.5, 1.5, 1.0), strict=True):
        assert min(image.shape[1:]) == shorter_side
        assert max(image.shape[1:]) == pytest.approx(aspect * shorter_side, abs=1)


def test_a_quarter_trimmed_leaves_the_center(tmp_path):
    framed = torch.zeros(3, 40, 60)
    framed[:, 10:30, 15:45] = noise(20, 30) / 255
    write_image(framed, tmp_path / "framed.png")
    images = ImageSet([tmp_path / "framed.png"], shorter_side=20, trim=0.25)
    assert torch.equal(images[0], noise(20, 30))
    assert torch.equal(images[:1][0], images[0])
    assert images[0].untyped_storage().nbytes() == 3 * 20 * 30


def test_nothing_trimmed_is_the_image_as_it_was(paths):
    assert all(map(torch.equal, ImageSet(paths, 30), ImageSet(paths, 30, trim=0.0)))


@pytest.mark.parametrize("stage", ["training", "validation"])
def test_styles_are_trimmed_and_contents_are_not(tmp_path, stage):
    for side in ("content", "style"):
        for index in range(4):
            framed = torch.zeros(3, 40, 40)
            framed[:, 10:30, 10:30] = 0.5 + 0.1 * index
            write_image(framed, tmp_path / side / f"{index}.png")
    options = {"seed": 0, "batch_size": 1, "image_size": 16, "validation_fraction": 0.5, "trim": 0.3}
    data = ContentStylePairs(tmp_path / "content", tmp_path / "style", crop_scale=(1.0, 1.0), **options)
    data.setup()
    pair = data.training_set()[0][Pair(0, 0, 1)] if stage == "training" else data.validation_set()[0]
    assert pair["content"].min() == 0
    assert pair["style"].min() > 0.45


@pytest.mark.parametrize("trim", [-0.1, 0.45, float("nan")])
def test_an_impossible_trim_is_refused(trim):
    with pytest.raises(ValueError, match=rf"data\.trim is the share cut from each side, from 0 to 0\.4, got {trim}"):
        ContentStylePairs("a", "b", seed=0, batch_size=1, image_size=8, trim=trim)


def test_a_file_that_vanished_is_named(paths):
    images = ImageSet(paths, shorter_side=30)
    paths[1].unlink()
    with pytest.raises(ImageError, match=r"1\.png: No such file"):
        images[1]


def test_a_shorter_side_of_nothing_is_refused(paths):
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        ImageSet(paths, shorter_side=0)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(2, 64),
    seed=st.integers(0, 2**63),
    scale=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
)
def test_a_random_crop_is_a_pure_function_in_range(height, width, size, seed, scale):
    image = noise(height, width)
    before = image.clone()
    crop = random_crop(image, size, np.random.default_rng(seed), scale)
    assert crop.shape == (3, size, size)
    assert crop.dtype == torch.float32
    assert crop.min() >= 0
    assert crop.max() <= 1
    assert torch.equal(crop, random_crop(image, size, np.random.default_rng(seed), scale))
    assert torch.equal(image, before)


def test_random_crops_draw_the_same_numbers_for_every_image():
    small, large = np.random.default_rng(0), np.random.default_rng(0)
    random_crop(noise(10, 10), 8, small)
    random_crop(noise(50, 70), 8, large)
    assert small.random() == large.random()


def test_random_crops_cover_places_sizes_and_mirrors():
    across = torch.arange(100).expand(3, 60, 100).to(torch.uint8)
    crops = [random_crop(across, 16, np.random.default_rng(seed)) * 255 for seed in range(200)]
    mirrored = [bool(crop[0, 0, 0] > crop[0, 0, -1]) for crop in crops]
    assert 70 < sum(mirrored) < 130
    # 15 of 16 pixel centers lie between the outermost two.
    sides = torch.stack([(crop[0, 0, 0] - crop[0, 0, -1]).abs() * 16 / 15 for crop in crops])
    assert 34 < sides.min() < 39
    assert 57 < sides.max() < 62
    assert min(crop.min().item() for crop in crops) < 3
    assert max(crop.max().item() for crop in crops) > 96


def test_a_crop_is_not_enlarged_where_the_image_is_large_enough():
    image = noise(40, 40)
    for seed in range(20):
        crop = random_crop(image, 40, np.random.default_rng(seed), scale=(0.1, 1.0))
        whole = image / 255
        assert torch.equal(crop, whole) or torch.equal(crop, whole.flip(-1))


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.5)])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be two fractions"):
        random_crop(noise(8, 8), 4, np.random.default_rng(0), scale)


@pytest.mark.parametrize("size", [0, 1])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match=f"at least 2 pixels, got {size}"):
        center_crop(noise(8, 8), size)


def test_a_center_crop_is_the_middle():
    image = noise(20, 31)
    assert torch.equal(center_crop(image, 20), image[:, :, 5:25] / 255)
    assert torch.equal(center_crop(image.transpose(1, 2), 20), image.transpose(1, 2)[:, 5:25] / 255)


def test_crops_are_antialiased():
    checkerboard = (
        (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).mul(255).to(torch.uint8).expand(3, 64, 64)
    )
    assert (center_crop(checkerboard, 8) - 0.5).abs().max() < 0.02
