"""``scumble stylize``: repaint photographs in the style of paintings."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.flags import add_model_flags, check_share, check_targets, choose_strength

if TYPE_CHECKING:
    from torch import Tensor

    Repaint = Callable[[Tensor], Tensor]

DESCRIPTION = "Repaint photographs in the style of paintings, with the shipped painter or your own model."


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and stylize; user errors print one line."""
    options = _parser().parse_args(arguments)
    try:
        failed = stylize(
            options.photos,
            options.style,
            options.model,
            options.output,
            strength=options.strength,
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
    model: str | Path = "shipped",
    output: str | Path = "stylized",
    *,
    strength: float | None = None,
    alpha: float = 1.0,
    size: int | None = None,
    style_size: int | None = 256,
    overwrite: bool = False,
    trust: Sequence[str] = (),
    device: str = "cpu",
) -> dict[Path, str]:
    """Repaint every photograph in every style; the pictures go to ``output`` under the photographs' names.

    ``photos`` and ``styles`` are files or folders. With one style the picture of ``a/b.jpg`` below a given folder
    ``a`` is ``output/b.jpg``; with several it is ``output/b_STYLE.jpg``. ``model`` is anything that
    :func:`scumble.checkpoint.load_generator` takes. ``strength`` in [0, 1] is an input of generators that take one;
    None is their default. ``alpha`` in [0, 1] blends the stylized image with the photograph: 0 is the photograph.
    ``size`` and ``style_size`` reduce the shorter side before, None keeps it.

    Returns the photographs that could not be repainted, or not in every style, with the reasons; the others are done
    all the same.
    Raises: ValueError or OSError about the model, the styles, the flags, or pictures that are there already.
    """
    import torch
    from rich.progress import track

    from scumble.checkpoint import load_generator
    from scumble.data.folders import find_images
    from scumble.images import read_image, to_float, write_image

    _check_flags(strength, alpha, size, style_size)
    style_files = find_images(styles, "--style")
    jobs = _jobs(photos, style_files, Path(output))
    targets = [target for _, pictures in jobs for target in pictures.values()]
    check_targets(targets, overwrite)
    generator = load_generator(model, trust).to(device)
    strength = choose_strength(generator, strength, "use --alpha, the blend with the photograph")
    failed: dict[Path, str] = {}
    written = 0
    with torch.inference_mode():
        repaint = {
            style: _repaint(generator, style, to_float(read_image(style, style_size))[None].to(device), strength)
            for style in style_files
        }
        for photo, pictures in track(jobs, "Stylizing", disable=len(targets) == 1 or not sys.stderr.isatty()):
            try:
                content = to_float(read_image(photo, size))[None].to(device)
            except ValueError as error:
                failed[photo] = str(error).removeprefix(f"{photo}: ")
                continue
            for style, target in pictures.items():
                try:
                    write_image(torch.lerp(content, repaint[style](content), alpha)[0].cpu(), target)
                    written += 1
                except ValueError as error:
                    failed[photo] = str(error)
    print(f"{written} of {len(targets)} pictures are in {output}")
    return failed


def _repaint(generator: Any, path: Path, style: "Tensor", strength: float | None) -> "Repaint":
    """The function that repaints a photograph in one style; everything that depends on the style alone is done once."""
    if not hasattr(generator, "summarise_style"):
        inputs = (style,) if strength is None else (style, strength)
        return lambda content: generator(content, *inputs)
    try:
        summary = generator.summarise_style(style)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return lambda content: generator.stylize(content, summary, strength)


def _check_flags(strength: float | None, alpha: float, size: int | None, style_size: int | None) -> None:
    if strength is not None:
        check_share("--strength", strength)
    check_share("--alpha", alpha)
    for flag, side in (("--size", size), ("--style-size", style_size)):
        if side is not None and side < 1:
            raise ValueError(f"{flag} must be at least 1, got {side}")


def _jobs(
    photos: Sequence[str | Path], style_files: Sequence[Path], output: Path
) -> list[tuple[Path, dict[Path, Path]]]:
    """Each photograph, with the target of its picture in each style."""
    from scumble.data.folders import find_images

    jobs = []
    for given in map(Path, photos):
        for photo in find_images([given], "PHOTO"):
            name = photo.relative_to(given) if given.is_dir() else Path(photo.name)
            suffix = name.suffix if name.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else ".png"
            labels = [f"_{style.stem}" if len(style_files) > 1 else "" for style in style_files]
            targets = [output / name.with_name(f"{name.stem}{label}{suffix}") for label in labels]
            jobs.append((photo, dict(zip(style_files, targets, strict=True))))
    return jobs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble stylize", description=DESCRIPTION)
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photographs, or folders of them")
    parser.add_argument("--style", nargs="+", required=True, metavar="PAINTING", help="paintings, or folders of them")
    parser.add_argument(
        "--strength",
        type=float,
        metavar="S",
        help="how strongly the model paints, from 0, near the photograph, to 1, near the painting; for models that "
        "take a strength (default: the model's own, 0.5 for the shipped painter)",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=1.0,
        metavar="A",
        help="blend the stylized image with the photograph, from 0, the photograph, to 1 (default); for every model",
    )
    parser.add_argument(
        "--size", type=int, default=None, help="reduce photographs to this shorter side (default: keep)"
    )
    parser.add_argument(
        "--style-size", type=int, default=256, help="reduce paintings to this shorter side (default: %(default)s)"
    )
    add_model_flags(parser, model="shipped", output="stylized")
    return parser
