"""scumble.load: a model in Python, for every kind of image that users hold."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scumble
from scumble.conversions import to_kind_of, to_tensor
from scumble.stylizer import Stylizer


@pytest.fixture(scope="module")
def model() -> Stylizer:
    return scumble.load()


PIXELS = np.random.default_rng(0).integers(0, 256, (24, 33, 3), dtype=np.uint8)
KINDS = {
    "PIL": Image.fromarray(PIXELS),
    "uint8 array": PIXELS,
    "float array": PIXELS.astype(np.float32) / 255,
    "uint8 tensor": torch.from_numpy(PIXELS).permute(2, 0, 1),
    "float tensor": torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
    "batch of one": (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255)[None],
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_any_kind_becomes_the_same_tensor_and_comes_back(kind: str) -> None:
    image = KINDS[kind]
    tensor = to_tensor(image)
    torch.testing.assert_close(tensor, torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 255)
    back = to_kind_of(tensor, image)
    assert type(back) is type(image)
    assert np.array_equal(np.asarray(back), np.asarray(image))


def test_a_pil_image_is_read_as_its_file_is(tmp_path: Path) -> None:
    """Transparency, 16 bits and the orientation of EXIF."""
    transparent = np.dstack([PIXELS, PIXELS[..., 0]])
    Image.fromarray(transparent).save(tmp_path / "transparent.png")
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 200).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    Image.fromarray(PIXELS).save(tmp_path / "rotated.jpg", exif=exif)
    for name in ("transparent.png", "deep.png", "rotated.jpg"):
        with Image.open(tmp_path / name) as image:
            assert torch.equal(to_tensor(image), to_tensor(tmp_path / name)), name


def test_every_kind_gives_the_same_picture(model: Stylizer, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    KINDS["PIL"].save(path)
    expected = model.stylize(KINDS["float tensor"], PIXELS, strength=0.7)
    assert expected.shape == (3, 24, 33)
    for image in (path, str(path), *KINDS.values()):
        made = model.stylize(image, PIXELS, strength=0.7)
        torch.testing.assert_close(to_tensor(made), expected, atol=0.003, rtol=0)
    assert isinstance(model.stylize(path, path), Image.Image)


def test_it_is_the_picture_of_the_command(model: Stylizer, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    KINDS["PIL"].save(path)
    flags = ["--style", "photo.png", "--style-size", "24", "--strength", "0.2"]
    command = [sys.executable, "-m", "scumble", "stylize", "photo.png", *flags]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = np.asarray(Image.open(tmp_path / "stylized/photo.png")).astype(int)
    assert np.abs(made - np.asarray(model.stylize(path, path, strength=0.2)).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((4, 16, 16)), r"photo: an array must be \(H, W, 3\) or \(H, W\), got \(4, 16, 16\)"),
        (torch.zeros(2, 3, 16, 16), r"photo: a tensor must be .* got \(2, 3, 16, 16\)"),
        (np.full((16, 16, 3), 255.0), r"must be in \[0, 1\], got values from 255 to 255"),
        (torch.zeros(3, 16, 16, dtype=torch.int32), "uint8 or float, got torch.int32"),
        (7, "photo: got a int; accepted: a path, a PIL image, an array or a tensor"),
    ],
)
def test_what_is_no_image_is_refused_by_name(model: Stylizer, photo: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.stylize(photo, PIXELS)  # type: ignore[arg-type]


def test_a_strength_out_of_range_is_refused(model: Stylizer) -> None:
    with pytest.raises(ValueError, match="strength must be in"):
        model.stylize(PIXELS, PIXELS, strength=1.5)


def test_scumble_itself_imports_nothing_heavy() -> None:
    program = "import scumble, sys; print([name for name in ('torch', 'PIL', 'numpy') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
