"""`scumble stylize`, as a person uses it."""

from pathlib import Path

import pytest
import torch
from runs import TINY, make_images, scumble_here

from scumble.images import read_image, to_float, write_image
from scumble.stylize import stylize


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_images(root / "content", 4, seed=1)
    make_images(root / "style", 3, seed=2)
    data = [f"data.content={root / 'content'}", f"data.style={root / 'style'}"]
    scumble_here("train", *TINY, *data, "steps=2", f"run_dir={root / 'run'}", cwd=root)
    return root / "run"


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
