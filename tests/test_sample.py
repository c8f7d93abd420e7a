"""The bundled sample set: made once, whole, and with nothing of the validation photographs in training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scumble.cache import cache_directory
from scumble.config import CONFIG_FOLDER
from scumble.data import sample
from scumble.data.painter import MANNERS
from scumble.data.sample import SamplePaintings, SamplePhotographs
from scumble.images import read_image

FIRST_TEN = ["swirls", "impasto", "pointillism", "hatching", "watercolour", "mosaic", "stained_glass", "ukiyo_e"]
FIRST_TEN += ["cubism", "drip"]
FEW = {"size": 32, "per_manner": 2, "validation_per_manner": 1, "manners": ["mosaic", "pointillism", "swirls"]}


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each file was written, and what it holds."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    source = SamplePhotographs(tmp_path_factory.mktemp("cache"))
    source.prepare()
    return source


def test_photographs_are_enough_and_have_usable_sizes(photographs):
    split = photographs.split()
    assert 40 <= len(split.train) <= 80
    assert len(split.validation) == 3
    assert not split.skipped
    for path in split.train + split.validation:
        assert 200 <= min(read_image(path).shape[1:]) <= 320, path


def test_photographs_of_the_two_splits_show_different_things(photographs):
    split = photographs.split()
    names = [{path.stem.split("-")[0] for path in paths} for paths in split[:2]]
    assert names == [
        {"astronaut", "chelsea", "china", "motorcycle_left", "hubble_deep_field", "ihc"},
        {"coffee", "rocket", "flower"},
    ]
    assert not set(split.train) & set(split.validation)


def test_preparing_photographs_again_writes_nothing(photographs):
    before = contents(photographs.folder)
    photographs.prepare()
    assert contents(photographs.folder) == before


def test_split_before_prepare_says_what_to_do(tmp_path):
    for source in (SamplePhotographs(tmp_path), SamplePaintings(cache_dir=tmp_path)):
        with pytest.raises(FileNotFoundError, match="prepare"):
            source.split()


def test_a_photograph_that_the_wheel_lacks_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        sample.photograph_path("skimage/data/nowhere.png")
    with pytest.raises(FileNotFoundError, match="no_such_package"):
        sample.photograph_path("no_such_package/a.png")


def test_paintings_are_sorted_disjoint_and_of_the_size(tmp_path):
    source = SamplePaintings(cache_dir=tmp_path, **FEW)
    source.prepare()
    train, validation, skipped = source.split()
    assert (len(train), len(validation), skipped) == (6, 3, {})
    assert train == sorted(train)
    assert [path.name for path in train[:3]] == ["mosaic-000.png", "mosaic-001.png", "pointillism-000.png"]
    assert len({path.read_bytes() for path in train + validation}) == 9
    assert {tuple(read_image(path).shape) for path in train} == {(3, 32, 32)}


def test_prepare_repeats_nothing_and_repairs_what_was_deleted(tmp_path):
    source = SamplePaintings(cache_dir=tmp_path, **FEW)
    source.prepare()
    before = contents(tmp_path)
    source.prepare()
    assert contents(tmp_path) == before
    lost = [source.split().train[1], source.split().validation[0]]
    for path in lost:
        path.unlink()
    source.prepare()
    after = contents(tmp_path)
    assert {path: data for path, (_, data) in after.items()} == {path: data for path, (_, data) in before.items()}
    assert all(after[path] == before[path] for path in before if path not in lost)


def test_a_larger_set_holds_the_smaller_one(tmp_path):
    SamplePaintings(cache_dir=tmp_path, **FEW).prepare()
    before = contents(tmp_path)
    SamplePaintings(cache_dir=tmp_path, **FEW | {"per_manner": 3}).prepare()
    after = contents(tmp_path)
    assert len(after) == len(before) + 3
    assert all(after[path] == before[path] for path in before)


def test_a_cache_of_fewer_manners_is_extended(tmp_path):
    small = {"size": 32, "per_manner": 1, "validation_per_manner": 1, "cache_dir": tmp_path}
    SamplePaintings(**small, manners=FIRST_TEN).prepare()
    before = contents(tmp_path)
    assert len(before) == 20
    whole = SamplePaintings(**small)
    whole.prepare()
    after = contents(tmp_path)
    assert all(after[path] == before[path] for path in before)
    for paths in whole.split()[:2]:
        assert sorted(path.stem.rsplit("-", 1)[0] for path in paths) == sorted(MANNERS)
    assert len(after) == 2 * len(MANNERS)


def test_the_documented_ten_manners_are_the_first():
    assert list(MANNERS)[:10] == FIRST_TEN
    config = (CONFIG_FOLDER / "data" / "sample.yaml").read_text().replace(" ", "").replace("\n#", "")
    assert f"data.style.manners=[{','.join(FIRST_TEN)}]" in config


def test_parameters_that_change_the_pictures_change_the_folder(tmp_path, monkeypatch):
    folders = {SamplePaintings(cache_dir=tmp_path, size=size, seed=seed).folder for size in (64, 96) for seed in (0, 1)}
    monkeypatch.setattr(sample, "PAINTER_VERSION", -1)
    assert len(folders | {SamplePaintings(cache_dir=tmp_path, size=64).folder}) == 5


def test_only_training_photographs_are_painted(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(sample, "read_image", lambda path: opened.append(path.name) or read_image(path))
    SamplePaintings(size=32, per_manner=8, cache_dir=tmp_path, manners=["mosaic"]).prepare()
    assert set(opened) == {"astronaut.png", "chelsea.png", "china.jpg", "motorcycle_left.png"}
    assert set(sample.SUBJECTS) <= set(sample.TRAINING_PHOTOGRAPHS)
    assert not set(sample.TRAINING_PHOTOGRAPHS) & set(sample.VALIDATION_PHOTOGRAPHS)


def test_a_write_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    source = SamplePaintings(cache_dir=tmp_path, **FEW)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            source.prepare()
    assert not contents(tmp_path)
    source.prepare()
    assert len(source.split().train) == 6


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_preparation_leaves_whole_files_and_is_resumed(tmp_path):
    few = {"size": 64, "per_manner": 30, "manners": ["mosaic", "hatching"]}
    prepare = f"SamplePaintings(cache_dir={str(tmp_path)!r}, **{few}).prepare()"
    program = f"from scumble.data.sample import SamplePaintings; {prepare}"
    process = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 600
    while not list(tmp_path.rglob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = list(tmp_path.rglob("*.png"))
    assert 1 <= len(made) < 64
    for path in made:
        assert read_image(path).shape == (3, 64, 64)
    source = SamplePaintings(cache_dir=tmp_path, **few)
    source.prepare()
    assert len(source.split().train) == 60


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"manners": ["fresco"]}, ["'fresco'", *MANNERS]),
        ({"per_manner": 0}, ["per_manner", "0"]),
        ({"size": 16}, ["size", "16", "32"]),
    ],
)
def test_a_parameter_that_cannot_work_is_refused_at_once(parameters, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        SamplePaintings(**parameters)
    assert all(word in str(error.value) for word in words)


def test_the_cache_directory_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_directory() == tmp_path / "own"
    monkeypatch.delenv("SCUMBLE_CACHE")
    assert cache_directory() == tmp_path / "shared" / "scumble"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "scumble"
