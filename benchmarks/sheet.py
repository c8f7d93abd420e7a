"""The sheet of the README: 8 photographs in 10 paintings by the shipped painter, chosen by the hash of their names.

    python benchmarks/sheet.py docs/images/painter.jpg
    python benchmarks/sheet.py sheet.jpg --content PHOTOS --style PAINTINGS    # your own pictures

The photographs ship with scikit-image and scikit-learn; the paintings are held-out ones of the bundled painter.
"""

import argparse
import hashlib
from pathlib import Path

import torch

from scumble.data.folders import find_images
from scumble.data.sample import TRAINING_PHOTOGRAPHS, VALIDATION_PHOTOGRAPHS, SamplePaintings, photograph_path
from scumble.images import grid, read_image, to_float, write_image
from scumble.networks.painter import Painter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--content", nargs="*", type=Path)
    parser.add_argument("--style", nargs="*", type=Path)
    parser.add_argument("--weights", default="shipped")
    parser.add_argument("--strength", type=float, default=Painter.default_strength)
    parser.add_argument("--side", type=int, default=256, help="the shorter side of the photographs that are painted")
    parser.add_argument("--cell", type=int, default=144, help="the side of a picture on the sheet")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(2)
    contents = chosen(find_images(options.content) if options.content else bundled_photographs(), options.rows)
    styles = chosen(find_images(options.style) if options.style else held_out_paintings(), options.columns)
    painter = Painter(weights=options.weights).eval()
    with torch.inference_mode():
        paintings = [square(to_float(read_image(path, 256)))[None] for path in styles]
        summaries = [painter.summarise_style(painting) for painting in paintings]
        rows = [[torch.ones(3, options.cell, options.cell), *(cell(painting, options.cell) for painting in paintings)]]
        for path in contents:
            content = square(to_float(read_image(path, options.side)))[None]
            stylized = (painter.stylize(content, summary, options.strength) for summary in summaries)
            rows.append([cell(image, options.cell) for image in (content, *stylized)])
    write_image(grid(rows), options.output)


def chosen(paths: list[Path], count: int) -> list[Path]:
    """Some of the files, by the hash of their names."""
    return sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())[:count]


def bundled_photographs() -> list[Path]:
    return [photograph_path(name) for name in (*TRAINING_PHOTOGRAPHS, *VALIDATION_PHOTOGRAPHS)]


def held_out_paintings() -> list[Path]:
    source = SamplePaintings()
    source.prepare()
    return list(source.split().validation)


def square(image: torch.Tensor) -> torch.Tensor:
    """The square in the middle. Shape: (3, H, W) to (3, S, S)."""
    side = min(image.shape[1:])
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    return image[:, top : top + side, left : left + side]


def cell(images: torch.Tensor, side: int) -> torch.Tensor:
    """One image of a batch of one, reduced for the sheet."""
    return torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)[0]


if __name__ == "__main__":
    main()
