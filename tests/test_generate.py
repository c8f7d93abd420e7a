"""`scumble generate`, as a person uses it."""

from pathlib import Path

import pytest
import torch
from runs import TINY, make_images, scumble_here

from scumble.generate import generate
from scumble.images import read_image

SMALL = ("debug=tiny", "logger=csv", "generator.width=8", "discriminator.width=8", "steps=2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    painting = next(make_images(root / "painting", 1, side=64).iterdir())
    scumble_here("train", "experiment=cgan", *SMALL, f"run_dir={root / 'cgan'}", cwd=root)
    scumble_here("train", "experiment=vae", "debug=tiny", "logger=csv", f"run_dir={root / 'vae'}", cwd=root)
    scumble_here(
        "train", "experiment=texture", *SMALL, f"data.image={painting}", "data.validation_size=40",
        "generator.scales=3", "discriminator.layers=1", f"run_dir={root / 'texture'}", cwd=root,
    )  # fmt: skip
    return root


def test_the_command_writes_pictures_of_the_runs_size(runs: Path, tmp_path: Path) -> None:
    result = scumble_here("generate", "--model", str(runs / "vae"), "--output", "out", "--count", "3", cwd=tmp_path)

    assert "3 pictures are in out" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0000.png", "0001.png", "0002.png"]
    assert all(read_image(path).shape == (3, 32, 32) for path in (tmp_path / "out").iterdir())


def test_a_picture_depends_on_the_seed_and_its_number_alone(runs: Path, tmp_path: Path) -> None:
    def drawn(name: str, count: int, seed: int) -> list[torch.Tensor]:
        return [read_image(path) for path in generate(runs / "texture", tmp_path / name, count=count, seed=seed)]

    few, more, others = drawn("few", 2, 0), drawn("more", 4, 0), drawn("others", 4, 1)
    assert all(torch.equal(a, b) for a, b in zip(few, more, strict=False))
    assert not any(torch.equal(a, b) for a, b in zip(more, others, strict=True))
    assert not torch.equal(more[0], more[1])


def test_a_texture_has_any_size(runs: Path, tmp_path: Path) -> None:
    scumble_here(
        "generate", "--model", str(runs / "texture"), "--output", "out", "--count", "1", "--size", "90x33", cwd=tmp_path
    )
    assert read_image(tmp_path / "out" / "0000.png").shape == (3, 33, 90)


def test_labels_take_turns_and_are_in_the_names(runs: Path, tmp_path: Path) -> None:
    all_classes = generate(runs / "cgan", tmp_path / "all", count=12)
    assert [path.stem for path in all_classes][-3:] == ["0009_9", "0010_0", "0011_1"]
    chosen = generate(runs / "cgan", tmp_path / "chosen", count=3, labels=[7, 2])
    assert [path.stem for path in chosen] == ["0000_7", "0001_2", "0002_7"]


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("cgan", ["--label", "10"], "--label 10: this model has the classes 0 to 9"),
        ("vae", ["--label", "1"], "no classes; leave the flag out"),
        ("vae", ["--size", "64"], "makes images of 32x32, not of 64x64"),
        ("texture", ["--size", "3"], "set generator.scales lower, or a larger image size"),
        ("vae", ["--count", "0"], "--count must be at least 1"),
        ("vae", ["--size", "0x3"], "give 256 or 320x200"),
        ("nowhere", [], "no checkpoint nowhere"),
    ],
)
def test_mistakes_end_in_one_line(runs: Path, tmp_path: Path, model: str, flags: list[str], message: str) -> None:
    output = tmp_path / "out"
    result = scumble_here("generate", "--model", model, "--output", str(output), *flags, cwd=runs, check=False)
    assert result.returncode
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not output.exists()


def test_pictures_are_not_overwritten_unasked(runs: Path, tmp_path: Path) -> None:
    [first] = generate(runs / "texture", tmp_path, count=1)
    with pytest.raises(FileExistsError, match="give another --output, or --overwrite"):
        generate(runs / "texture", tmp_path, count=2, seed=1)
    assert not (tmp_path / "0001.png").exists()
    before = first.read_bytes()
    generate(runs / "texture", tmp_path, count=1, seed=1, overwrite=True)
    assert first.read_bytes() != before


def test_a_model_that_stylizes_says_so(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 4)
    data = [f"data.content={images}", f"data.style={images}"]
    scumble_here("train", *TINY, *data, "steps=1", "run_dir=run", cwd=tmp_path)
    result = scumble_here("generate", "--model", "run", "--output", "out", cwd=tmp_path, check=False)
    assert "makes no images of noise; see scumble stylize" in result.stderr
