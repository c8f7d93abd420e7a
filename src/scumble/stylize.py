"""``scumble stylize``: repaint photographs with a trained model."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scumble.flags import add_model_flags, check_targets

DESCRIPTION = "Repaint photographs in the style of paintings with a trained model."


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and stylize; what the user can mend ends in one line."""
    options = _parser().parse_args(arguments)
    try:
        failed = stylize(
            options.photos,
            options.style,
            options.model,
            options.output,
            alpha=options.alpha,
            size=options.size,
            style_size=options.style_size,
            overwrite=options.overwrite,
            trust=options.trust,
            device=options.device,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"scumble stylize: {error}")
    for path, reason in failed.items():
        print(f"not stylized: {path}: {reason}", file=sys.stderr)
    if failed:
        sys.exit(1)


def stylize(
    photos: Sequence[str | Path],
    styles: Sequence[str | Path],
    model: str | Path,
    output: str | Path,
    *,
    alpha: float = 1.0,
    size: int | None = None,
    style_size: int | None = 256,
    overwrite: bool = False,
    trust: Sequence[str] = (),
    device: str = "cpu",
) -> dict[Path, str]:
    """Repaint every photograph in every style; the pictures go to ``output`` under the photographs' names.

    ``photos`` and ``styles`` are files or folders. With one style the picture of ``a/b.jpg`` below a given folder
    ``a`` is ``output/b.jpg``; with several it is ``output/b_STYLE.jpg``. ``alpha`` in [0, 1] is the strength: the
    stylized image is blended with the photograph. ``size`` and ``style_size`` reduce the shorter side before, None
    keeps it.

    Returns the photographs that could not be repainted, with the reasons; the others are done all the same.
    Raises: ValueError or OSError about the model, the styles, the flags, or pictures that are there already.
    """
    import torch
    from rich.progress import track

    from scumble.checkpoint import load_generator
    from scumble.images import ImageError, read_image, to_float, write_image

    if not 0 <= alpha <= 1:
        raise ValueError(f"--alpha must be in [0, 1], got {alpha}")
    jobs = list(_jobs(photos, styles, Path(output)))
    check_targets([target for _, _, target in jobs], overwrite)
    generator = load_generator(model, trust).to(device)
    style_images = {
        style: to_float(read_image(style, style_size))[None].to(device) for style in {style for _, style, _ in jobs}
    }
    failed: dict[Path, str] = {}
    shown = track(jobs, description="Stylizing", disable=len(jobs) == 1 or not sys.stderr.isatty())
    with torch.inference_mode():
        for photo, style, target in shown:
            try:
                content = to_float(read_image(photo, size))[None].to(device)
                stylized = generator(content, style_images[style])
                write_image(torch.lerp(content, stylized, alpha)[0].cpu(), target)
            except (ImageError, ValueError) as error:
                failed[photo] = str(error).removeprefix(f"{photo}: ")
    print(f"{len(jobs) - len(failed)} of {len(jobs)} pictures are in {output}")
    return failed


def _jobs(
    photos: Sequence[str | Path], styles: Sequence[str | Path], output: Path
) -> Iterator[tuple[Path, Path, Path]]:
    """What to paint: photograph, style, target."""
    from scumble.data.folders import find_images

    style_files = find_images(styles)
    for given in map(Path, photos):
        for photo in find_images([given]):
            name = photo.relative_to(given) if given.is_dir() else Path(photo.name)
            for style in style_files:
                suffix = name.suffix if name.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else ".png"
                label = f"_{style.stem}" if len(style_files) > 1 else ""
                yield photo, style, output / name.with_name(f"{name.stem}{label}{suffix}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble stylize", description=DESCRIPTION)
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photographs, or folders of them")
    parser.add_argument("--style", nargs="+", required=True, metavar="PAINTING", help="paintings, or folders of them")
    parser.add_argument("--alpha", type=float, default=1.0, help="strength, from 0 (the photograph) to 1 (default)")
    parser.add_argument(
        "--size", type=int, default=None, help="reduce photographs to this shorter side (default: keep)"
    )
    parser.add_argument(
        "--style-size", type=int, default=256, help="reduce paintings to this shorter side (default: %(default)s)"
    )
    add_model_flags(parser)
    return parser
