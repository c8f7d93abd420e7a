"""Public image sets: from a folder that is there, and a clear word when it is not. Nothing is fetched here."""

from pathlib import Path

import pytest
from runs import make_images

from scumble.data.downloads import DescribableTextures, Imagenette


def test_folders_that_are_there_need_no_network(tmp_path: Path) -> None:
    make_images(tmp_path / "imagenette2-160" / "train" / "n01440764", 3, seed=1)
    make_images(tmp_path / "imagenette2-160" / "val" / "n01440764", 2, seed=2)
    make_images(tmp_path / "dtd" / "dtd" / "images" / "banded", 12, seed=3)
    content, style = Imagenette(tmp_path), DescribableTextures(tmp_path, validation_fraction=0.25)
    for source in (content, style):
        source.prepare()
    split = content.split()
    assert (len(split.train), len(split.validation)) == (3, 2)
    split = style.split()
    assert len(split.train) + len(split.validation) == 12
    assert not set(split.train) & set(split.validation)


@pytest.mark.parametrize("source", [Imagenette, DescribableTextures])
def test_a_missing_set_says_how_to_get_it(tmp_path: Path, source: type[Imagenette | DescribableTextures]) -> None:
    with pytest.raises(FileNotFoundError, match=r"download=true to fetch .* MB.*root=DIR"):
        source(tmp_path).prepare()


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.Imagenette", refuse)
    with pytest.raises(OSError, match=r"cannot fetch Imagenette .*no route to host.*data.content.root=DIR"):
        Imagenette(tmp_path, download=True).prepare()


def test_an_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be 160px or 320px, got 'full'"):
        Imagenette(tmp_path, size="full")
