import errno
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.Image import Transpose

from scumble.images import (
    IMAGE_SUFFIXES,
    ImageError,
    grid,
    grid_boxes,
    read_image,
    resize,
    to_float,
    to_uint8,
    write_image,
)


def photo(height: int = 60, width: int = 80) -> Image.Image:
    """A smooth picture without any symmetry."""
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def distance(image: torch.Tensor, other: torch.Tensor) -> float:
    assert image.shape == other.shape
    return (image.float() - other.float()).abs().mean().item()


def peak_memory(reset: bool = False) -> float:
    """The most memory that this process has used since the last reset, in megabytes; always 0 where unknown."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


# Reading


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_accepted_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"photo{suffix.upper()}"
    picture = photo().convert("L") if suffix == ".pgm" else photo()
    picture.save(path)
    image = read_image(path)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert distance(image, tensor(picture)) < 6
    assert read_image(path, shorter_side=30).shape == (3, 30, 40)


def test_the_content_decides_the_format_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    photo().save(path, "PNG")
    assert torch.equal(read_image(path), tensor(photo()))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("shorter_side", [None, 30])
def test_every_orientation_gives_the_same_upright_picture(tmp_path, suffix, shorter_side):
    stored = {
        1: None,
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }
    path = tmp_path / f"photo.{suffix}"
    photo().save(path, quality=95)
    upright = read_image(path, shorter_side)
    for orientation, transpose in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = photo() if transpose is None else photo().transpose(transpose)
        turned.save(path, exif=exif, quality=95)
        assert distance(read_image(path, shorter_side), upright) < 2, orientation


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_cost_the_picture(tmp_path):
    photo().save(tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken", quality=95)
    assert read_image(tmp_path / "photo.jpg").shape == (3, 60, 80)


def test_cmyk_is_converted(tmp_path):
    photo().convert("CMYK").save(tmp_path / "photo.jpg", quality=95)  # PIL writes Adobe's inverted kind
    assert distance(read_image(tmp_path / "photo.jpg"), tensor(photo())) < 3
    assert read_image(tmp_path / "photo.jpg", shorter_side=12).shape == (3, 12, 16)


def test_a_colour_profile_is_followed(tmp_path):
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = swapped.index(b"rXYZ"), swapped.index(b"gXYZ")
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png", icc_profile=bytes(swapped))
    red_channel, green_channel, blue_channel = read_image(tmp_path / "red.png").float().mean((1, 2)).tolist()
    assert green_channel > 250
    assert red_channel < 5
    assert blue_channel < 5


def test_a_profile_of_another_colour_space_is_ignored(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("L", (8, 8), 100).save(tmp_path / "gray.png", icc_profile=profile)
    assert read_image(tmp_path / "gray.png").unique().tolist() == [100]


def test_a_broken_colour_profile_is_ignored(tmp_path):
    photo().save(tmp_path / "photo.png", icc_profile=b"nonsense")
    assert torch.equal(read_image(tmp_path / "photo.png"), tensor(photo()))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_16_bit_gradient_stays_a_gradient(tmp_path, suffix):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)
    Image.fromarray(np.tile(ramp, (16, 1))).save(tmp_path / f"ramp.{suffix}")
    image = read_image(tmp_path / f"ramp.{suffix}")
    assert image[0, 0].tolist() == list(range(256))
    assert (image == image[0, 0]).all()


@pytest.mark.parametrize("full_scale", [1.0, 255.0, 65535.0, 1e6])
def test_a_float_gradient_stays_a_gradient(tmp_path, full_scale):
    ramp = np.linspace(0, full_scale, 256, dtype=np.float32)
    Image.fromarray(np.tile(ramp, (16, 1))).save(tmp_path / "ramp.tif")
    assert read_image(tmp_path / "ramp.tif")[0, 0].tolist() == list(range(256))


def test_not_a_number_is_black(tmp_path):
    Image.fromarray(np.array([[np.nan, 1.0], [-1.0, np.inf]], dtype=np.float32)).save(tmp_path / "odd.tif")
    assert read_image(tmp_path / "odd.tif")[0].tolist() == [[0, 255], [0, 0]]


def test_32_bit_integers_are_scaled(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 256).round().astype(np.int32), (16, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.tif")
    assert read_image(tmp_path / "ramp.tif")[0, 0].tolist() == list(range(256))


def test_1_bit_is_black_and_white(tmp_path):
    Image.fromarray(np.eye(32, dtype=bool)).save(tmp_path / "bits.png")
    assert torch.equal(read_image(tmp_path / "bits.png")[0], torch.eye(32, dtype=torch.uint8) * 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_is_white(tmp_path, mode):
    path = tmp_path / "half.png"
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 255))
    picture.paste((90, 90, 90, 0), (0, 0, 10, 20))
    if mode in ("RGB", "L"):  # one colour stands for transparent
        key = (90, 90, 90) if mode == "RGB" else 90
        picture.convert("RGB").convert(mode).save(path, transparency=key)
    else:
        picture.convert(mode).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
    assert image[:, :, :10].unique().tolist() == [255]
    assert image[:, :, 10:].unique().tolist() == [0]


def test_a_palette_with_partial_transparency_is_blended(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 0, 0, 0])
    picture.save(tmp_path / "palette.png", transparency=bytes([255, 128]))
    assert read_image(tmp_path / "palette.png").unique().tolist() == [127]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 20), (level, level, level)) for level in (200, 100, 0)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert read_image(tmp_path / f"moving.{suffix}").unique().tolist() == [200]


@pytest.mark.filterwarnings("ignore:Truncated File Read")  # PIL's TIFF decoder warns as well
@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("shorter_side", [None, 16])
def test_a_truncated_file_is_refused(tmp_path, suffix, shorter_side):
    whole, path = io.BytesIO(), tmp_path / f"broken{suffix}"
    picture = photo(300, 400).convert("L" if suffix == ".pgm" else "RGB")
    picture.save(whole, Image.registered_extensions()[suffix])
    for part in (0.02, 0.5, 0.9, 0.99):
        path.write_bytes(whole.getvalue()[: int(part * len(whole.getvalue()))])
        with pytest.raises(ImageError, match=rf"broken{suffix}: truncated or damaged"):
            read_image(path, shorter_side)


def test_a_truncated_progressive_jpeg_is_refused(tmp_path):
    path = tmp_path / "photo.jpg"
    photo(300, 400).save(path, progressive=True)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path, shorter_side=16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; replace or remove it"),
        (b"<html>404 Not Found</html>", r"not an image of a known format \(JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image of a known format"),  # PIL would start Ghostscript
        (b"\xff\xd8\xff\xe0", "truncated or damaged"),
        (b"P6 8 8 255 ", "truncated or damaged"),
    ],
)
def test_a_file_that_is_no_image_is_refused(tmp_path, content, message):
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=rf"text\.jpg: {message}"):
        read_image(tmp_path / "text.jpg")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg: No such file or directory; check the path"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="Is a directory; check the path"):
        read_image(tmp_path)


def test_a_forbidden_file_is_named(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(ImageError, match=r"secret\.jpg: Permission denied; check the path and its permissions"):
        read_image(tmp_path / "secret.jpg")


def test_a_small_image_is_refused_only_if_asked(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    assert read_image(tmp_path / "dot.png").flatten().tolist() == [255, 0, 0]
    assert read_image(tmp_path / "dot.png", shorter_side=5).shape == (3, 5, 5)
    with pytest.raises(ImageError, match=r"dot\.png: 1x1 pixels, each side must be at least 16"):
        read_image(tmp_path / "dot.png", minimum_side=16)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.pgm"
    path.write_bytes(b"P5 20000 20000 255\n")
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="20000x20000 pixels, at most 300,000,000 are read; scale"):
        read_image(path, shorter_side=16)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(("suffix", "megabytes"), [("jpg", 20), ("png", 150)])
def test_100_megapixels_cost_little(tmp_path, suffix, megabytes):
    path = tmp_path / f"large.{suffix}"
    Image.new("L", (10_000, 10_000), 77).save(path, compress_level=1)
    before = peak_memory(reset=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PIL's own limit would warn here
        image = read_image(path, shorter_side=160)
    assert image.shape == (3, 160, 160)
    assert image.unique().tolist() == [77]
    assert peak_memory() - before < megabytes


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1)])
def test_an_extreme_aspect_is_refused_when_resizing(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "line.png")
    assert read_image(tmp_path / "line.png").shape == (3, size[1], size[0])
    with pytest.raises(ImageError, match=f"{size[0]}x{size[1]} pixels, over 50 times as long as wide; crop"):
        read_image(tmp_path / "line.png", shorter_side=160)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_resizing_while_reading_equals_resizing_after(tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    photo(601, 803).save(path, quality=95)
    image = read_image(path, shorter_side=50)
    assert image.shape == (3, 50, 67)
    assert distance(image, to_uint8(resize(to_float(read_image(path)), (50, 67)))) < 1.5
    assert torch.equal(image, read_image(path, shorter_side=50))


# Writing


@given(
    values=st.lists(st.integers(0, 255), min_size=3 * 12, max_size=3 * 12),
    height=st.sampled_from([1, 2, 3, 4, 6, 12]),
    as_float=st.booleans(),
)
def test_a_png_keeps_every_value(tmp_path_factory, values, height, as_float):
    image = torch.tensor(values, dtype=torch.uint8).reshape(3, height, -1)
    path = tmp_path_factory.getbasetemp() / "values.png"
    write_image(to_float(image) if as_float else image, path)
    assert torch.equal(read_image(path), image)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_writing_makes_folders_and_nothing_else(tmp_path, suffix):
    path = tmp_path / "new" / "folder" / f"photo{suffix}"
    write_image(tensor(photo()), path)
    write_image(to_float(tensor(photo())).requires_grad_(), path)
    assert os.listdir(path.parent) == [path.name]
    assert distance(read_image(path), tensor(photo())) < 2


def test_values_outside_the_range_are_clamped(tmp_path):
    image = torch.tensor([-1.0, 0.5, 2.0, float("nan"), float("inf"), -float("inf")]).expand(3, 1, 6)
    write_image(image, tmp_path / "odd.png")
    assert read_image(tmp_path / "odd.png")[0, 0].tolist() == [0, 128, 255, 0, 255, 0]


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (4, 8, 8), (1, 3, 8, 8), (8, 8, 3), (3, 0, 8)])
def test_another_shape_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"has the shape \(3, H, W\), got"):
        write_image(torch.zeros(shape), tmp_path / "image.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["image", "image.xyz"])
def test_an_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"choose a name that ends in \.png, \.jpg, \.jpeg, \.webp"):
        write_image(torch.zeros(3, 8, 8), tmp_path / name)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    write_image(torch.zeros(3, 8, 8), path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"image\.png: No space left on device") as caught:
        write_image(torch.ones(3, 8, 8), path)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["image.png"]
    assert read_image(path).max() == 0


def test_a_size_that_the_format_cannot_hold_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"wide\.jpg"):
        write_image(torch.zeros(3, 1, 70_000), tmp_path / "wide.jpg")
    assert not list(tmp_path.iterdir())


# Values and sizes


def test_uint8_and_float_are_inverses():
    levels = torch.arange(256, dtype=torch.uint8)
    assert to_float(levels).dtype == torch.float32
    assert to_float(levels)[[0, 255]].tolist() == [0, 1]
    assert torch.equal(to_uint8(to_float(levels)), levels)
    assert torch.equal(to_uint8(to_float(levels).double()), levels)


def test_conversion_leaves_its_argument_alone():
    image = torch.full((3, 2, 2), 2.0)
    assert to_uint8(image).unique().tolist() == [255]
    assert image.unique().tolist() == [2.0]


def test_resizing_by_a_whole_factor_averages():
    image = torch.rand(2, 3, 8, 12)
    # The antialiased bilinear filter is a tent, whose weights for a factor of 2 are 1, 3, 3, 1 eighths.
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    expected = (image[..., 1:5, 1:5] * weights[:, None] * weights).sum((2, 3))
    assert torch.allclose(resize(image, (4, 6))[..., 1, 1], expected, atol=1e-6)
    assert torch.equal(resize(image[0], (4, 6)), resize(image, (4, 6))[0])
    assert torch.equal(resize(image, (8, 12)), image)


# Grids


def test_a_grid_places_images_on_white():
    black, gray = torch.zeros(3, 4, 6), torch.full((3, 4, 6), 0.5)
    picture = grid([[black, gray], [gray]], padding=2)
    assert picture.shape == (3, 2 + 4 + 2 + 4 + 2, 2 + 6 + 2 + 6 + 2)
    expected = torch.ones(14, 18)
    expected[2:6, 2:8] = 0
    expected[2:6, 10:16] = 0.5
    expected[8:12, 2:8] = 0.5
    assert torch.equal(picture, expected.expand(3, -1, -1))


def test_a_grid_takes_batches_and_several_sizes():
    picture = grid([torch.zeros(3, 3, 4, 4), [torch.zeros(3, 8, 10)]], padding=0)
    assert picture.shape == (3, 4 + 8, 10 + 4 + 4)


def test_captions_stand_over_their_columns():
    images = [torch.full((3, 64, 64), 0.5)] * 3
    plain, labelled = grid([images]), grid([images], labels=["content", "style", "stylized"])
    caption_height = labelled.shape[1] - plain.shape[1]
    assert 10 < caption_height < 24
    assert torch.equal(labelled[:, caption_height:], plain)
    for column in range(3):
        left = 2 + column * 66
        assert labelled[:, :caption_height, left : left + 64].min() < 0.3


@pytest.mark.parametrize("labels", [None, ["content", "a style of many words", "stylized"]])
def test_boxes_are_where_the_images_are(labels: list[str] | None):
    rows = [[torch.rand(3, 9, 40) for _ in range(3)], [torch.rand(3, 5, 7), torch.rand(3, 8, 60)]]
    picture = grid(rows, labels, padding=3)
    boxes = grid_boxes(rows, labels, padding=3)
    assert [len(row) for row in boxes] == [3, 2]
    for row, row_boxes in zip(rows, boxes, strict=True):
        for image, (left, top, width, height) in zip(row, row_boxes, strict=True):
            assert torch.equal(picture[:, top : top + height, left : left + width], image)


def test_a_png_keeps_text(tmp_path: Path):
    write_image(torch.zeros(3, 4, 4), tmp_path / "a.png", text={"scumble": '{"é": "<&"}'})
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["scumble"] == '{"é": "<&"}'
    with pytest.raises(ValueError, match=r"a\.jpg: only a PNG keeps text"):
        write_image(torch.zeros(3, 4, 4), tmp_path / "a.jpg", text={"scumble": "{}"})


def test_a_long_caption_widens_its_column():
    picture = grid([[torch.zeros(3, 8, 8)]], labels=["a style of many words"])
    assert picture.shape[2] > 80


def test_an_impossible_grid_is_refused():
    with pytest.raises(ValueError, match="needs at least one image, got 2 rows"):
        grid([[], []])
    with pytest.raises(ValueError, match=r"2 columns needs 2 labels, got 1: \['content'\]"):
        grid([[torch.zeros(3, 8, 8)] * 2], labels=["content"])


def test_grids_can_be_written(tmp_path: Path):
    write_image(grid([[torch.rand(3, 8, 8)]], labels=["content"]), tmp_path / "grid.png")
    assert read_image(tmp_path / "grid.png").shape[0] == 3
