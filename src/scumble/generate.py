"""``scumble generate``: draw images from a model that makes them of noise."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scumble.flags import add_model_flags, check_targets

DESCRIPTION = "Draw images from a trained model that makes them of noise: a GAN, a VAE, a texture."


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and generate; user errors print one line."""
    options = _parser().parse_args(arguments)
    try:
        generate(
            options.model,
            options.output,
            count=options.count,
            seed=options.seed,
            size=options.size,
            labels=options.label,
            overwrite=options.overwrite,
            trust=options.trust,
            device=options.device,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"scumble generate: {error}")


def generate(
    model: str | Path,
    output: str | Path,
    *,
    count: int = 16,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    labels: Sequence[int] | None = None,
    overwrite: bool = False,
    trust: Sequence[str] = (),
    device: str = "cpu",
) -> list[Path]:
    """Write ``count`` generated images as PNG to ``output``, and return their paths.

    Image i depends on ``seed`` and i alone: asked for more images, the same seed gives the same first ones. ``size`` is
    (width, height), by default that of the run's validation. A model with classes draws ``labels`` in turn, by default
    all of them; the label is in the file's name.
    Raises: ValueError or OSError about the model, the flags, or pictures that are there already.
    """
    import torch
    from rich.progress import track

    from scumble.checkpoint import CheckpointError, find_checkpoint, load_task
    from scumble.images import write_image
    from scumble.seeding import mix

    if count < 1 or seed < 0:
        raise ValueError(f"--count must be at least 1 and --seed at least 0, got {count} and {seed}")
    checkpoint = find_checkpoint(model)
    task = load_task(checkpoint, trust).to(device)
    if not hasattr(task, "sample"):
        raise CheckpointError(
            f"{checkpoint.path}: a {type(task).__name__} makes no images of noise; see scumble stylize"
        )
    if size is None:
        data = checkpoint.config["data"]
        size = (data.get("validation_size") or data["image_size"],) * 2
    width, height = size
    classes: int = getattr(task, "classes", 0)
    drawn = _labels(labels, classes, count)
    names = [f"{index:04d}" + ("" if label is None else f"_{label}") for index, label in enumerate(drawn)]
    targets = [Path(output) / f"{name}.png" for name in names]
    check_targets(targets, overwrite)
    shown = track(list(zip(drawn, targets, strict=True)), "Generating", disable=not sys.stderr.isatty())
    for index, (label, target) in enumerate(shown):
        given = None if label is None else torch.tensor([label], device=device)
        image = task.sample(1, height, width, given, draw=mix(seed, index))[0]
        write_image(image.expand(3, -1, -1).cpu(), target)  # digits have one channel
    print(f"{count} pictures are in {output}")
    return targets


def _labels(wanted: Sequence[int] | None, classes: int, count: int) -> list[int | None]:
    """The label of each image, None without classes."""
    if not classes:
        if wanted:
            raise ValueError("--label: this model has no classes; leave the flag out")
        return [None] * count
    if unknown := [label for label in wanted or () if not 0 <= label < classes]:
        raise ValueError(f"--label {unknown[0]}: this model has the classes 0 to {classes - 1}")
    turn = list(wanted or range(classes))
    return [turn[index % len(turn)] for index in range(count)]


def _size(text: str) -> tuple[int, int]:
    """``256`` or ``320x200`` as (width, height)."""
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give 256 or 320x200")
    return int(sides[0]), int(sides[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble generate", description=DESCRIPTION)
    parser.add_argument("--count", type=int, default=16, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other pictures for another number (default: %(default)s)")
    parser.add_argument(
        "--size", type=_size, default=None, help="side or WIDTHxHEIGHT, for a model of any size (default: the run's)"
    )
    parser.add_argument("--label", type=int, nargs="+", default=None, help="classes to draw, in turn (default: all)")
    add_model_flags(parser)
    return parser
