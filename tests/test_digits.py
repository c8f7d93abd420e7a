"""Digits: the IDX files and what is wrong with them, the split, the batches."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from scumble.data.digits import Digits, read_idx
from scumble.data.singles import SingleBatches

RANDOM = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, name: str, count: int, end: str = "") -> tuple[np.ndarray, np.ndarray]:
    images, labels = RANDOM.integers(0, 256, (count, 28, 28)), RANDOM.integers(0, 10, count)
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in ((f"{name}-images-idx3-ubyte", images), (f"{name}-labels-idx1-ubyte", labels)):
        data = idx(array)
        (folder / f"{stem}{end}").write_bytes(gzip.compress(data) if end else data)
    return images, labels


def digits(root: Path | None = None, **options: int | float) -> Digits:
    data = Digits(root, seed=0, batch_size=4, **options)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("shape", [(3,), (2, 5), (4, 3, 2)])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_an_idx_file_is_read_back(tmp_path: Path, shape: tuple[int, ...], end: str) -> None:
    array, path = RANDOM.integers(0, 256, shape), tmp_path / f"data-idx-ubyte{end}"
    path.write_bytes(gzip.compress(idx(array)) if end else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)


WHOLE = idx(np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a", WHOLE[:-1], "torn, 12 bytes were expected where 11 are left"),
        ("a", WHOLE[:7], "torn"),
        ("a", b"", "torn"),
        ("a", WHOLE + b"\0", "longer than the 12 bytes"),
        ("a", b"\x89PNG" + WHOLE, "no IDX file of unsigned bytes"),
        ("a", struct.pack(">HBBI", 0, 0x0D, 1, 4) + bytes(16), "no IDX file of unsigned bytes"),
        ("a", struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 9), "at most 1,073,741,824 are read"),
        ("a.gz", gzip.compress(WHOLE)[:-9], "torn or no gzip file"),
        ("a.gz", WHOLE, "torn or no gzip file"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_the_default_is_scikit_learns_digits() -> None:
    data = digits(image_size=12, validation_fraction=0.2, validation_images=1000)
    assert data.training_digits is not None
    assert data.validation_digits is not None
    assert (len(data.training_digits), len(data.validation_digits)) == (1438, 359)
    sample = data.training_digits[0]
    assert sample["image"].shape == (1, 12, 12)
    assert 0 <= sample["image"].min() < 0.1 < 0.8 < sample["image"].max() <= 1
    assert sample["label"].dtype == torch.int64
    assert sorted({int(data.validation_digits[i]["label"]) for i in range(359)}) == list(range(10))


def test_the_split_shares_no_digit_and_is_always_the_same(tmp_path: Path) -> None:
    images, labels = write_mnist(tmp_path, "t10k", 40, ".gz")
    first, second = digits(tmp_path), digits(tmp_path)
    parts = [first.training_digits, first.validation_digits]
    found = [
        (bytes(image), int(label)) for part in parts for image, label in zip(part.images, part.labels, strict=True)
    ]
    assert len(found) == 40
    assert set(found) == {(bytes(i.astype(np.uint8)), int(label)) for i, label in zip(images, labels, strict=True)}
    assert len(first.validation_digits.images) == 4
    np.testing.assert_array_equal(first.validation_digits.images, second.validation_digits.images)


@pytest.mark.parametrize("place", [".", "MNIST/raw"])
def test_with_both_sets_of_mnist_the_test_set_is_for_validation(tmp_path: Path, place: str) -> None:
    train, _ = write_mnist(tmp_path / place, "train", 7)
    test, labels = write_mnist(tmp_path / place, "t10k", 5, ".gz")
    data = digits(tmp_path, validation_images=3)
    np.testing.assert_array_equal(data.training_digits.images, train)
    np.testing.assert_array_equal(data.validation_digits.images, test[:3])
    np.testing.assert_array_equal(data.validation_digits.labels, labels[:3])


def test_a_batch_is_a_pure_function_of_the_step(tmp_path: Path) -> None:
    write_mnist(tmp_path, "train", 9)
    data = digits(tmp_path)
    dataset, walk, sizes = data.training_set()
    assert walk is SingleBatches
    batch = [dataset[sample] for sample in walk(**sizes, batch_size=4, seed=0).batch(2)]
    again = [dataset[sample] for sample in walk(**sizes, batch_size=4, seed=0, start=2 * 4).batch(0)]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(batch, again, strict=True))


def test_what_is_missing_or_wrong_in_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no MNIST in .*set data\.root, set data\.download=true"):
        digits(tmp_path)
    write_mnist(tmp_path, "train", 6)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(5)))
    with pytest.raises(ValueError, match=r"has 6 images and .* 5 labels"):
        digits(tmp_path)
    labels.write_bytes(idx(np.full(6, 11)))
    with pytest.raises(ValueError, match="has a label 11, digits are 0 to 9"):
        digits(tmp_path)
    labels.write_bytes(idx(np.zeros((6, 1))))
    with pytest.raises(ValueError, match=r"images \(N, H, W\) and labels \(N,\), got"):
        digits(tmp_path)
    labels.unlink()
    with pytest.raises(FileNotFoundError, match="is there without train-labels-idx1-ubyte"):
        digits(tmp_path)


def test_too_few_digits_for_a_split(tmp_path: Path) -> None:
    write_mnist(tmp_path, "train", 3)
    with pytest.raises(ValueError, match="3 digits are too few"):
        digits(tmp_path)


@pytest.mark.parametrize(
    "options", [{"image_size": 1}, {"validation_fraction": 0.0}, {"validation_images": 0}, {"batch_size": 0}]
)
def test_impossible_settings_are_named(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=rf"data\.{name} must be"):
        Digits(**{"seed": 0, "batch_size": 2} | options)  # type: ignore[arg-type]


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    with pytest.raises(OSError, match=r"cannot fetch MNIST .*no route to host.*data\.root=DIR"):
        Digits(tmp_path, download=True, seed=0, batch_size=1).prepare_data()


def test_nothing_is_fetched_where_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, "train", 20)
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda *args, **options: pytest.fail("fetched"))
    data = Digits(tmp_path, download=True, seed=0, batch_size=1)
    data.prepare_data()


def test_the_real_test_set(shared: Path) -> None:
    data = digits(shared / "mnist")
    assert len(data.training_digits) == 9000
    counts = np.bincount(np.concatenate([data.training_digits.labels, data.validation_digits.labels]), minlength=10)
    assert counts.min() > 700
    assert int(read_idx(shared / "mnist" / "t10k-labels-idx1-ubyte.gz")[0]) == 7  # the well-known first digit
