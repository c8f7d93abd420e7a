import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scumble.data.folders
from scumble.data.folders import Folders, find_images
from scumble.data.sources import ImageSource, Split
from scumble.images import ImageError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 40 different images, in two subfolders."""
    folder = tmp_path / "photos"
    for index in range(40):
        save(folder / f"part{index % 2}" / f"{index:02}.png", index)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were decoded."""
    calls: list[Path] = []
    read = scumble.data.folders.read_image
    monkeypatch.setattr(
        scumble.data.folders, "read_image", lambda path, **options: (calls.append(path), read(path, **options))
    )
    return calls


def save(path: Path, seed: int = 0, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def side_of(split: Split, path: Path) -> str:
    assert (path in split.train) != (path in split.validation)
    return "train" if path in split.train else "validation"


# Finding


def test_images_are_found_nested_and_in_order(tmp_path):
    names = ["b.jpg", "a/z.PNG", "a/b/c.webp", "a-b.gif", "B.jpeg", "ü.bmp"]
    others = [".hidden.jpg", ".git/x.jpg", "a/notes.txt", "a/._z.PNG", "jpg"]
    for name in names + others:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    found = [path.relative_to(tmp_path / "data").as_posix() for path in find_images([tmp_path / "data"])]
    assert found == ["B.jpeg", "a-b.gif", "a/b/c.webp", "a/z.PNG", "b.jpg", "ü.bmp"]


def test_folders_keep_their_order_and_images_come_once(tmp_path):
    late, early = save(tmp_path / "z" / "1.png"), save(tmp_path / "a" / "2.png")
    single = save(tmp_path / "3.png")
    assert find_images([tmp_path / "z", str(tmp_path / "a"), single, tmp_path / "a"]) == [late, early, single]


@pytest.mark.parametrize("kind", [str, Path])
def test_one_folder_needs_no_list(tmp_path, kind):
    image = save(tmp_path / "data" / "1.png")
    assert find_images(kind(tmp_path / "data")) == [image]


def test_the_home_folder_may_be_abbreviated(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    image = save(tmp_path / "data" / "1.png")
    assert find_images("~/data") == [image]


def test_links_are_followed_once(tmp_path):
    original = save(tmp_path / "elsewhere" / "1.png")
    folder = tmp_path / "data"
    save(folder / "own" / "2.png")
    (folder / "file.png").symlink_to(original)
    (folder / "folder").symlink_to(original.parent)
    (folder / "again").symlink_to(original.parent)
    (folder / "own" / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    found = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    assert found == ["again/1.png", "file.png", "own/2.png"]


def test_a_pipe_is_not_waited_for(tmp_path):
    image = save(tmp_path / "data" / "1.png")
    os.mkfifo(tmp_path / "data" / "0.png")
    assert find_images(tmp_path / "data") == [image]


def test_a_missing_folder_is_named_with_its_like(tmp_path):
    save(tmp_path / "photos" / "1.png")
    with pytest.raises(FileNotFoundError, match=r"photo does not exist \(did you mean .*/photos\?\); set data\.style"):
        find_images(tmp_path / "photo", name="data.style")
    with pytest.raises(FileNotFoundError, match=r"xyz does not exist; set data\.content"):
        find_images(tmp_path / "xyz")
    with pytest.raises(FileNotFoundError, match=rf"b/c does not exist \(the path exists up to {tmp_path}\)"):
        find_images(tmp_path / "b" / "c")


def test_no_images_is_an_error_with_what_is_accepted(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=rf"no images in {tmp_path}: files must end in \.jpg, .*; set data\.content"):
        find_images(tmp_path)
    with pytest.raises(ValueError, match="no images in no folder"):
        find_images([])


# Splitting


def test_folders_are_a_source(photos):
    source: ImageSource = Folders(photos)
    source.prepare()
    split = source.split()
    assert split.skipped == {}
    assert sorted(split.train + split.validation) == sorted(find_images(photos))
    assert split.train == [path for path in find_images(photos) if path in split.train]
    assert 1 <= len(split.validation) <= 10


def test_the_hash_of_the_content_decides(photos):
    split = Folders(photos, validation_fraction=0.3).split()
    for path in find_images(photos):
        expected = int(hashlib.sha256(path.read_bytes()).hexdigest()[:8], 16) / 2**32 < 0.3
        assert side_of(split, path) == ("validation" if expected else "train")


def test_new_images_move_no_other(photos):
    before = Folders(photos, validation_fraction=0.3).split()
    for seed in range(100, 140):
        save(photos / "new" / f"{seed}.png", seed)
    after = Folders(photos, validation_fraction=0.3).split()
    assert set(before.train) < set(after.train)
    assert set(before.validation) < set(after.validation)


def test_copies_are_on_the_same_side(photos):
    for path in find_images(photos):
        shutil.copy(path, path.with_stem(f"{path.stem}_copy"))
    split = Folders(photos, validation_fraction=0.3).split()
    assert len(split.train) + len(split.validation) == 80
    for path in find_images(photos):
        assert side_of(split, path) == side_of(split, path.with_stem(path.stem.removesuffix("_copy")))


def test_the_place_of_the_folder_does_not_matter(photos, tmp_path):
    here = Folders(photos).split()
    there = Folders(shutil.copytree(photos, tmp_path / "moved")).split()
    for side in ("train", "validation"):
        relative = [path.relative_to(photos) for path in getattr(here, side)]
        assert relative == [path.relative_to(tmp_path / "moved") for path in getattr(there, side)]


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_no_side_is_empty_if_there_are_two_images(tmp_path, fraction):
    paths = [save(tmp_path / "data" / f"{seed}.png", seed) for seed in range(3)]
    by_hash = sorted(paths, key=lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
    split = Folders(tmp_path / "data", validation_fraction=fraction).split()
    if fraction < 0.5:
        assert split.validation == by_hash[:1]
    else:
        assert split.train == by_hash[-1:]
    assert sorted(split.train + split.validation) == paths


def test_one_image_and_its_copies_are_not_split(tmp_path):
    save(tmp_path / "data" / "1.png")
    save(tmp_path / "data" / "2.png")
    split = Folders(tmp_path / "data").split()
    assert {len(split.train), len(split.validation)} == {0, 2}


@pytest.mark.parametrize(("fraction", "train", "validation"), [(0, 40, 0), (1, 0, 40)])
def test_everything_may_be_on_one_side(photos, fraction, train, validation):
    split = Folders(photos, validation_fraction=fraction).split()
    assert (len(split.train), len(split.validation)) == (train, validation)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=f"from 0 to 1, got {fraction}"):
        Folders("anywhere", validation_fraction=fraction)


# Broken files


@pytest.fixture
def partly_broken(photos: Path) -> list[Path]:
    """Four files in ten percent of the folder that are truncated, empty, text and too small."""
    broken = find_images(photos)[:4]
    truncate(broken[0])
    broken[1].write_bytes(b"")
    broken[2].write_text("not found")
    save(broken[3], side=8)
    return broken


def test_broken_files_are_left_out_counted_and_named(photos, partly_broken, caplog):
    with caplog.at_level(logging.WARNING):
        split = Folders(photos, name="data.style").split()
    assert list(split.skipped) == partly_broken
    reasons = ["truncated or damaged", "the file is empty", "not an image", "8x8 pixels, each side must be at least 16"]
    assert all(reason.startswith(start) for reason, start in zip(split.skipped.values(), reasons, strict=True))
    assert len(split.train) + len(split.validation) == 36
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"4 of 40 files of data.style are left out\n  {partly_broken[0]}: truncated or damaged")
    assert message.endswith("and 1 more")


def test_strict_names_every_broken_file(photos, partly_broken):
    with pytest.raises(ImageError, match=r"4 of 40 files of data\.content cannot be used; repair") as caught:
        Folders(photos, strict=True).split()
    assert all(str(path) in str(caught.value) for path in partly_broken)


def test_strict_names_at_most_ten(photos):
    for path in find_images(photos)[:12]:
        truncate(path)
    with pytest.raises(ImageError, match=r"and 2 more$") as caught:
        Folders(photos, strict=True).split()
    assert str(caught.value).count("truncated or damaged") == 10


def test_only_broken_files_are_an_error(photos):
    for path in find_images(photos):
        path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"(?s)none of the 40 files of data\.content .*empty.*and 37 more"):
        Folders(photos).split()


def test_a_broken_link_is_reported(photos):
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    assert Folders(photos).split().skipped == {
        photos / "gone.png": "No such file or directory; check the path and its permissions"
    }


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_large_truncated_file_is_found(tmp_path, suffix):
    save(tmp_path / "data" / "good.png")
    truncate(save(tmp_path / "data" / f"large.{suffix}", side=400))
    assert list(Folders(tmp_path / "data").split().skipped) == [tmp_path / "data" / f"large.{suffix}"]


# The index


def test_a_second_split_decodes_nothing(photos, decoded):
    first = Folders(photos).split()
    assert len(decoded) == 40
    assert Folders(photos).split() == first
    assert Folders(photos, validation_fraction=0.5).split().train != first.train
    assert len(decoded) == 40


def test_only_new_changed_and_broken_files_are_decoded_again(photos, decoded):
    changed, broken, removed = find_images(photos)[:3]
    truncate(broken)
    assert broken in Folders(photos).split().skipped
    added = save(photos / "new.png", seed=99)
    save(changed, seed=100)
    os.utime(changed, ns=(0, 0))
    removed.unlink()
    decoded.clear()
    split = Folders(photos).split()
    assert sorted(decoded) == sorted([added, changed, broken])
    assert removed not in split.train + split.validation


def test_another_minimum_is_checked_again(photos):
    Folders(photos).split()
    with pytest.raises(ImageError, match="none of the 40 files"):
        Folders(photos, minimum_side=17).split()


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"a": 1}', b'{"a": [[1], 2]}', b"\xff\xfe", b'{"a": [[1, 2, 3], "b'])
def test_a_damaged_index_is_ignored(photos, cache, decoded, damage):
    first = Folders(photos).split()
    (index,) = cache.rglob("*.json")
    index.write_bytes(damage)
    assert Folders(photos).split() == first
    assert len(decoded) == 80
    Folders(photos).split()
    assert len(decoded) == 80


def test_a_cache_that_cannot_be_written_costs_only_time(photos, cache, decoded, caplog):
    cache.write_text("a file where the folder should be")
    first = Folders(photos).split()
    assert "the images will be checked again next time" in caplog.text
    assert str(cache) in caplog.text
    assert Folders(photos).split() == first
    assert len(decoded) == 80


def test_folders_have_indices_of_their_own(photos, tmp_path, cache, decoded):
    save(tmp_path / "paintings" / "1.png")
    sources: list[Callable[[], Split]] = [Folders(photos).split, Folders(tmp_path / "paintings").split]
    for split in sources * 2:
        split()
    assert len(decoded) == 41
    assert len(list(cache.rglob("*.json"))) == 2
