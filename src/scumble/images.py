"""Reading, writing and arranging pictures: the only place that knows pixel formats and value ranges.

Everywhere else an image is a float32 tensor (3, H, W) or (B, 3, H, W) in [0, 1]; images that are kept in memory or on
disk are uint8 (3, H, W).
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageCms, ImageDraw, ImageFont, features
from PIL.Image import Transpose
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from scumble.files import atomic_write

# The decoders that are ever tried, whatever a file is called, with the suffixes by which its files are found.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2",),
}
_OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
_FORMATS = [name for name in _SUFFIXES if name not in _OPTIONAL or features.check(_OPTIONAL[name])]
Image.init()

IMAGE_SUFFIXES = tuple(suffix for name in _FORMATS for suffix in _SUFFIXES[name])

# 1x100000 pixels with a shorter side of 160 would become 16 million pixels long.
MAXIMUM_ASPECT = 50

_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 3}),
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".webp": ("WEBP", {"quality": 95}),
}


class Box(NamedTuple):
    """Where an image is in a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


class ImageError(ValueError):
    """A file that cannot be used as an image: the message names the file, what is wrong and what to do."""


def read_image(
    path: str | Path, shorter_side: int | None = None, minimum_side: int = 1, maximum_pixels: int = 300_000_000
) -> Tensor:
    """The upright first picture of a file in sRGB, on white where it is transparent.

    With ``shorter_side`` it is resized to that shorter side; a JPEG is then decoded at a fraction of its size, so that
    a huge one costs little. The file's bytes decide its format, not its name.

    Shape: returns uint8 (3, H, W).
    Raises: ImageError for a file that is missing, unreadable, no image, truncated or damaged, that has a side below
    ``minimum_side`` or more than ``maximum_pixels``, or, with ``shorter_side``, that is over 50 times as long as wide.
    """
    try:
        with open(path, "rb") as file:
            return _decode(file, shorter_side, minimum_side, maximum_pixels)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except MemoryError:
        raise ImageError(f"{path}: not enough memory to decode it; scale the image down") from None
    except Exception as error:  # on damaged bytes decoders raise nearly everything
        if isinstance(error, OSError) and error.errno:
            raise ImageError(f"{path}: {error.strerror}; check the path and its permissions") from error
        raise ImageError(f"{path}: truncated or damaged ({error}); replace or remove the file") from error


def write_image(image: Tensor, path: str | Path, text: Mapping[str, str] | None = None) -> None:
    """Write an image as PNG, JPEG or WebP, by the suffix; the file appears whole or not at all.

    ``text`` is kept in the text chunks of a PNG.

    Shape: image (3, H, W), float in [0, 1] (values outside are clamped) or uint8.
    Raises: ValueError for another shape, type or suffix, or text that is not for a PNG; OSError, with the file's name,
        if it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"{path}: cannot write {path.suffix!r}; choose a name that ends in {', '.join(_WRITERS)}")
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        raise ValueError(f"{path}: an image to write has the shape (3, H, W), got {tuple(image.shape)}")
    pixels = image.detach().cpu()
    pixels = pixels if pixels.dtype == torch.uint8 else to_uint8(pixels)
    kind, options = _WRITERS[path.suffix.lower()]
    if text:
        if kind != "PNG":
            raise ValueError(f"{path}: only a PNG keeps text; choose a name that ends in .png")
        chunks = PngInfo()
        for key, value in text.items():
            chunks.add_text(key, value)
        options = options | {"pnginfo": chunks}
    with atomic_write(path) as file:
        encoded = BytesIO()  # PIL's encoders, writing to a full disk themselves, would hide the reason
        Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(encoded, kind, **options)
        file.write(encoded.getbuffer())


def to_float(image: Tensor) -> Tensor:
    """The float32 image in [0, 1] of a uint8 image."""
    return image.float().div_(255)


def to_uint8(image: Tensor) -> Tensor:
    """The nearest uint8 image of a float image: values outside [0, 1] are clamped, NaN becomes black."""
    return image.float().nan_to_num(0.0).clamp(0, 1).mul_(255).round_().to(torch.uint8)


def resize(image: Tensor, height_width: tuple[int, int]) -> Tensor:
    """A float image at another height and width: bilinear, antialiased, differentiable, within the range it had.

    Shape: image (3, H, W) or (B, 3, H, W); returns the same number of dimensions.
    """
    images = image if image.ndim == 4 else image[None]
    resized = F.interpolate(images, height_width, mode="bilinear", antialias=True)
    return resized if image.ndim == 4 else resized[0]


def grid(rows: Sequence[Sequence[Tensor]], labels: Sequence[str] | None = None, padding: int = 2) -> Tensor:
    """One picture of rows of images on white, with a caption over each column if there are ``labels``.

    A row is as high as its highest image, a column as wide as its widest; rows may differ in length.

    Shape: images (3, H, W), float in [0, 1]; returns (3, H, W), on the CPU.
    """
    rows = _captioned(rows, labels)
    heights, widths = _tracks(rows)
    picture = torch.ones(3, sum(heights) + padding * (len(heights) + 1), sum(widths) + padding * (len(widths) + 1))
    for row, boxes in zip(rows, _boxes(rows, padding), strict=True):
        for image, (left, top, width, height) in zip(row, boxes, strict=True):
            picture[:, top : top + height, left : left + width] = image.detach().cpu()
    return picture


def grid_boxes(
    rows: Sequence[Sequence[Tensor]], labels: Sequence[str] | None = None, padding: int = 2
) -> list[list[Box]]:
    """Where :func:`grid` puts the images: a box for each, and none for the captions."""
    boxes = _boxes(_captioned(rows, labels), padding)
    return boxes if labels is None else boxes[1:]


def _captioned(rows: Sequence[Sequence[Tensor]], labels: Sequence[str] | None) -> Sequence[Sequence[Tensor]]:
    """The rows, below a row of captions if there are labels."""
    columns = max(map(len, rows), default=0)
    if not columns:
        raise ValueError(f"a grid needs at least one image, got {len(rows)} rows without any")
    if labels is None:
        return rows
    if len(labels) != columns:
        raise ValueError(f"a grid of {columns} columns needs {columns} labels, got {len(labels)}: {list(labels)}")
    return [[_caption(label) for label in labels], *rows]


def _tracks(rows: Sequence[Sequence[Tensor]]) -> tuple[list[int], list[int]]:
    """The heights of the rows and the widths of the columns."""
    heights = [max((image.shape[1] for image in row), default=0) for row in rows]
    columns = range(max(map(len, rows)))
    return heights, [max(row[column].shape[2] for row in rows if column < len(row)) for column in columns]


def _boxes(rows: Sequence[Sequence[Tensor]], padding: int) -> list[list[Box]]:
    """A box for each image: at the top of its row, in the middle of its column."""
    heights, widths = _tracks(rows)
    tops = accumulate(heights, lambda top, height: top + height + padding, initial=padding)
    lefts = list(accumulate(widths, lambda left, width: left + width + padding, initial=padding))
    return [
        [
            Box(left + (track - image.shape[2]) // 2, top, image.shape[2], image.shape[1])
            for image, left, track in zip(row, lefts, widths, strict=False)
        ]
        for row, top in zip(rows, tops, strict=False)
    ]


def _decode(file: BinaryIO, shorter_side: int | None, minimum_side: int, maximum_pixels: int) -> Tensor:
    """The picture of an open file; an ImageError's message does not name the file yet."""
    image = _open(file)
    width, height = image.size
    if width * height > maximum_pixels:
        raise ImageError(f"{width}x{height} pixels, at most {maximum_pixels:,} are read; scale the image down")
    if min(width, height) < minimum_side:
        raise ImageError(f"{width}x{height} pixels, each side must be at least {minimum_side}; remove the image")
    if shorter_side is not None:
        if max(width, height) > MAXIMUM_ASPECT * min(width, height):
            raise ImageError(f"{width}x{height} pixels, over {MAXIMUM_ASPECT} times as long as wide; crop the image")
        image.draft(None, (2 * shorter_side, 2 * shorter_side))
    image.load()
    picture = _in_8_bit(image)
    if shorter_side is not None:
        scale = shorter_side / min(width, height)
        picture = picture.resize(
            (round(width * scale), round(height * scale)), Image.Resampling.LANCZOS, reducing_gap=3.0
        )
    return _pixels(picture, image)


def from_pil(image: Image.Image) -> Tensor:
    """The pixels of a PIL image, by the rules of :func:`read_image`. Returns (3, H, W), uint8."""
    return _pixels(_in_8_bit(image), image)


def _pixels(picture: Image.Image, image: Image.Image) -> Tensor:
    """The picture in sRGB and upright, by the profile and the EXIF orientation of the image that it was made of."""
    profile, orientation = image.info.get("icc_profile"), _orientation(image)
    picture = _in_srgb(picture, profile)
    if orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[orientation])
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _open(file: BinaryIO) -> Image.Image:
    """The image of a file, not yet decoded.

    Not ``Image.open``: its limit on pixels is a global of the process, and it warns from 90 million pixels on.
    """
    prefix = file.read(16)
    if not prefix:
        raise ImageError("the file is empty; replace or remove it")
    for name in _FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is None or accept(prefix) is True:
            file.seek(0)
            return factory(file, "")
    raise ImageError(f"not an image of a known format ({', '.join(_FORMATS)}); convert or remove the file")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 for a broken EXIF block, since the picture itself is good."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF is nested binary data, and every way to break it raises something else
        return 1


def _in_8_bit(image: Image.Image) -> Image.Image:
    """The same picture in a mode that PIL can resize: L, RGB or CMYK; what is transparent becomes white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return _scaled_to_8_bit(np.asarray(image, dtype=np.float32))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled_to_8_bit(values: np.ndarray) -> Image.Image:
    """A grayscale picture of numbers whose full scale is not recorded: the least usual one that holds them all."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(values.max())
    full_scale = next((scale for scale in (1.0, 255.0, 65535.0) if largest <= scale), largest)
    return Image.fromarray((values.clip(0, full_scale) * (255 / full_scale)).round().astype(np.uint8))


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in RGB, through its colour profile where that is valid and of the picture's colour space."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted is not None:
            return converted
    return picture.convert("RGB")


def _caption(text: str) -> Tensor:
    """Black text on white, as an image that is as large as the text."""
    font = ImageFont.load_default(12)
    _, _, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, font=font)
    picture = Image.new("L", (max(1, round(right)), max(1, round(bottom))), 255)
    ImageDraw.Draw(picture).text((0, 0), text, fill=0, font=font)
    return to_float(torch.from_numpy(np.array(picture))).expand(3, -1, -1)
