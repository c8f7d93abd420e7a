"""`scumble stylize`, as a person uses it."""

from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import TINY, make_images, scumble_here, write_painter

import scumble.images
from scumble.images import read_image, to_float, write_image
from scumble.networks.painter import Painter
from scumble.stylize import stylize

PHOTOGRAPHS = [Path(str(files("skimage.data") / name)) for name in ("astronaut.png", "chelsea.png", "coffee.png")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_images(root / "content", 4, seed=1)
    make_images(root / "style", 3, seed=2)
    data = [f"data.content={root / 'content'}", f"data.style={root / 'style'}"]
    scumble_here("train", *TINY, *data, "steps=2", f"run_dir={root / 'run'}", cwd=root)
    return root / "run"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Painter:
    """A painter of random weights, as the one that ships with scumble."""
    weights = write_painter(tmp_path / "weights" / "painter.safetensors")
    monkeypatch.setattr("scumble.networks.painter.PAINTER_WEIGHTS", weights)
    return Painter(weights=str(weights)).eval()


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    return next(make_images(tmp_path / "paintings", 1, seed=3).iterdir())


def test_files_and_folders_keep_their_names_and_sizes(run: Path, tmp_path: Path, painting: Path) -> None:
    photos = tmp_path / "photos"
    write_image(torch.rand(3, 37, 61), photos / "odd sizes.png")
    write_image(torch.rand(3, 24, 24), photos / "nested" / "b.jpg")
    single = tmp_path / "single.webp"
    write_image(torch.rand(3, 20, 90), single)

    result = scumble_here(
        "stylize",
        str(photos),
        str(single),
        "--style",
        str(painting),
        "--model",
        str(run),
        "--output",
        "out",
        cwd=tmp_path,
    )

    assert "3 of 3 pictures are in out" in result.stdout
    assert read_image(tmp_path / "out" / "odd sizes.png").shape == (3, 37, 61)
    assert read_image(tmp_path / "out" / "nested" / "b.jpg").shape == (3, 24, 24)
    assert read_image(tmp_path / "out" / "single.webp").shape == (3, 20, 90)


def test_without_a_model_the_shipped_painter_paints(shipped: Painter, tmp_path: Path, painting: Path) -> None:
    (tmp_path / "shipped").mkdir()  # a folder of that name does not stand in its way
    photo = PHOTOGRAPHS[0]
    result = scumble_here("stylize", str(photo), "--style", str(painting), "--size", "64", cwd=tmp_path)
    assert result.stdout == "1 of 1 pictures are in stylized\n"
    named = ["--model", "shipped", "--output", "named"]
    scumble_here("stylize", str(photo), "--style", str(painting), "--size", "64", *named, cwd=tmp_path)
    content, style = (to_float(read_image(path, side))[None] for path, side in ((photo, 64), (painting, 256)))
    with torch.inference_mode():
        expected = shipped(content, style)[0]
    for output in ("stylized", "named"):
        found = to_float(read_image(tmp_path / output / "astronaut.png"))
        assert torch.allclose(found, expected, atol=0.51 / 255)
    again = scumble_here("stylize", str(photo), "--style", str(painting), cwd=tmp_path, check=False)
    assert "astronaut.png is there already; give another --output, or --overwrite" in again.stderr


def test_styles_are_summarised_and_photographs_decoded_once(
    shipped: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[Path] = Counter()
    summarised = []

    def read(path: Path, *sides: Any) -> torch.Tensor:
        decoded[path] += 1
        return read_image(path, *sides)

    def summarise(painter: Painter, style: torch.Tensor) -> Any:
        summarised.append(style.shape)
        return original(painter, style)

    original = Painter.summarise_style
    monkeypatch.setattr(scumble.images, "read_image", read)
    monkeypatch.setattr(Painter, "summarise_style", summarise)
    styles = make_images(tmp_path / "styles", 3, seed=5)
    assert stylize(PHOTOGRAPHS, [styles], output=tmp_path / "out", size=32) == {}
    assert len(list((tmp_path / "out").iterdir())) == 9
    assert decoded == Counter([*PHOTOGRAPHS, *styles.iterdir()])
    assert len(summarised) == 3


def test_a_style_that_is_too_small_is_named(shipped: Painter, tmp_path: Path) -> None:
    write_image(torch.rand(3, 8, 40), tmp_path / "stripe.png")
    with pytest.raises(ValueError, match=r"stripe\.png: image sides must be at least 16 pixels, got 40x8"):
        stylize(PHOTOGRAPHS[:1], [tmp_path / "stripe.png"], output=tmp_path / "out", size=32, style_size=None)


def test_pictures_are_counted_and_not_photographs(shipped: Painter, tmp_path: Path) -> None:
    styles = make_images(tmp_path / "styles", 3, seed=5)
    photos = make_images(tmp_path / "photos", 2, seed=6)
    (photos / "broken.jpg").write_text("not a picture")
    result = scumble_here("stylize", str(photos), "--style", str(styles), "--size", "32", cwd=tmp_path, check=False)
    assert result.stdout == "6 of 9 pictures are in stylized\n"
    assert len(list((tmp_path / "stylized").iterdir())) == 6
    assert result.stderr.count("not stylized") == 1


def test_strength_is_an_input_of_the_generator(shipped: Painter, tmp_path: Path, painting: Path) -> None:
    content = to_float(read_image(PHOTOGRAPHS[0], 64))[None]
    style = to_float(read_image(painting, 256))[None]
    found = {}
    for strength in (0.0, 0.3, 1.0, None):
        stylize(PHOTOGRAPHS[:1], [painting], output=tmp_path / str(strength), strength=strength, size=64)
        found[strength] = to_float(read_image(tmp_path / str(strength) / "astronaut.png"))
        with torch.inference_mode():
            assert torch.allclose(found[strength], shipped(content, style, strength)[0], atol=0.51 / 255)
    assert (found[0.0] - found[1.0]).abs().max() > 5 / 255
    assert (found[0.3] - found[1.0]).abs().max() > 3 / 255
    stylize(PHOTOGRAPHS[:1], [painting], output=tmp_path / "same", strength=Painter.default_strength, size=64)
    assert torch.equal(found[None], to_float(read_image(tmp_path / "same" / "astronaut.png")))


def test_a_generator_of_another_kind_gets_the_strength_as_well(tmp_path: Path, painting: Path) -> None:
    (tmp_path / "fade.yaml").write_text("_target_: test_stylize.Fade\n")
    content = to_float(read_image(PHOTOGRAPHS[0], 64))
    for strength, share in ((0.0, 1.0), (None, 0.75), (1.0, 0.0)):
        target = tmp_path / str(strength)
        model = tmp_path / "fade.yaml"
        stylize(PHOTOGRAPHS[:1], [painting], model, target, strength=strength, size=64, trust=["test_stylize"])
        assert torch.allclose(to_float(read_image(target / "astronaut.png")), content * share, atol=0.51 / 255)


class Fade(torch.nn.Module):
    """The photograph, the darker the stronger."""

    default_strength = 0.25

    def forward(self, content: torch.Tensor, style: torch.Tensor, strength: float) -> torch.Tensor:
        return content * (1 - strength)


def test_alpha_zero_of_the_shipped_painter_is_the_photograph(shipped: Painter, tmp_path: Path, painting: Path) -> None:
    stylize(PHOTOGRAPHS[:1], [painting], output=tmp_path / "out", strength=1, alpha=0, size=64)
    assert torch.equal(read_image(tmp_path / "out" / "astronaut.png"), read_image(PHOTOGRAPHS[0], 64))


def test_the_help_says_the_default_strength(tmp_path: Path) -> None:
    text = " ".join(scumble_here("stylize", "--help", cwd=tmp_path).stdout.split())
    assert f"the model's own, {Painter.default_strength:g} for the shipped painter" in text


def test_alpha_blends_with_the_photograph(run: Path, tmp_path: Path, painting: Path) -> None:
    photo = tmp_path / "photo.png"
    write_image(torch.rand(3, 32, 32), photo)
    pictures = []
    for alpha in (0.0, 0.5, 1.0):
        stylize([photo], [painting], run, tmp_path / str(alpha), alpha=alpha)
        pictures.append(to_float(read_image(tmp_path / str(alpha) / "photo.png")))
    assert torch.equal(pictures[0], to_float(read_image(photo)))
    assert not torch.allclose(pictures[2], pictures[0], atol=0.05)
    assert torch.allclose(pictures[1], (pictures[0] + pictures[2]) / 2, atol=1.1 / 255)


def test_several_styles_get_a_picture_each(run: Path, tmp_path: Path) -> None:
    styles = make_images(tmp_path / "styles", 2, seed=5)
    photo = tmp_path / "photo.jpg"
    write_image(torch.rand(3, 32, 32), photo)
    assert stylize([photo], [styles], run, tmp_path / "out") == {}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo_000.jpg", "photo_001.jpg"]


def test_a_broken_photograph_does_not_stop_the_others(run: Path, tmp_path: Path, painting: Path) -> None:
    photos = make_images(tmp_path / "photos", 2, seed=6)
    (photos / "broken.jpg").write_text("not a picture")
    write_image(torch.rand(3, 4, 4), photos / "tiny.png")
    result = scumble_here(
        "stylize",
        str(photos),
        "--style",
        str(painting),
        "--model",
        str(run),
        "--output",
        "out",
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 1
    assert "2 of 4 pictures are in out" in result.stdout
    assert "broken.jpg" in result.stderr
    assert "image sides must be at least 8 pixels, got 4x4" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--alpha": "1.5"}, "--alpha must be in [0, 1], got 1.5"),
        ({"--strength": "-0.1"}, "--strength must be in [0, 1], got -0.1"),
        ({"--strength": "nan"}, "--strength must be in [0, 1], got nan"),
        (
            {"--strength": "0.5"},
            "--strength: the generator is ResidualAttention, which takes none; use --alpha, the blend with the photo",
        ),
        ({"--size": "0"}, "--size must be at least 1, got 0"),
        ({"--style-size": "-3"}, "--style-size must be at least 1, got -3"),
        ({"--model": "nowhere"}, "no checkpoint nowhere"),
        ({"--style": "nowhere.png"}, "nowhere.png"),
        ({"PHOTO": "nowhere.png"}, "nowhere.png"),
        ({"--output": "photos"}, "is there already; give another --output, or --overwrite"),
    ],
)
def test_a_wrong_flag_ends_in_one_line(
    run: Path, tmp_path: Path, painting: Path, change: dict[str, str], message: str
) -> None:
    make_images(tmp_path / "photos", 1, seed=7)
    given = {"PHOTO": "photos", "--style": str(painting), "--model": str(run), "--output": "out"} | change
    photo = given.pop("PHOTO")
    result = scumble_here(
        "stylize", photo, *(word for flag in given.items() for word in flag), cwd=tmp_path, check=False
    )
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_task_is_refused(run: Path, tmp_path: Path, painting: Path) -> None:
    checkpoint = next((run / "checkpoints").glob("*.ckpt"))
    content = torch.load(checkpoint, weights_only=True)
    content["scumble"]["config"]["task"] = {"_target_": "scumble.tasks.distillation.Distillation"}
    content["state_dict"] = {"student.encoder.weight": torch.zeros(1)}
    other = tmp_path / "other.ckpt"
    torch.save(content, other)
    with pytest.raises(ValueError, match="Distillation, which has no generator of stylized images"):
        stylize([painting], [painting], other, tmp_path / "out")


def test_a_checkpoint_that_names_a_strange_class_is_refused(run: Path, tmp_path: Path, painting: Path) -> None:
    content = torch.load(next((run / "checkpoints").glob("*.ckpt")), weights_only=True)
    sentinel = tmp_path / "executed"
    content["scumble"]["config"]["task"]["generator"] = {"_target_": "os.mkdir", "path": str(sentinel)}
    other = tmp_path / "other.ckpt"
    torch.save(content, other)
    with pytest.raises(ValueError, match=r"os\.mkdir is not a class of a trusted package"):
        stylize([painting], [painting], other, tmp_path / "out")
    assert not sentinel.exists()
