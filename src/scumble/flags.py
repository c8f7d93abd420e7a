"""What the commands share that use a trained model: flags, their checks, and the check of the pictures they write."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_model_flags(parser: argparse.ArgumentParser, model: str | None = None, output: str | None = None) -> None:
    """The flags of every command that writes pictures with a trained model; a flag without a default is required."""
    shipped = f"; default: {model}, the painter that comes with scumble" if model == "shipped" else ""
    parser.add_argument(
        "--model",
        required=model is None,
        default=model,
        metavar="RUN",
        help=f"a run folder, a checkpoint file, or the config of a generator{shipped}",
    )
    default = f" (default: {output})" if output else ""
    parser.add_argument(
        "--output", required=output is None, default=output, metavar="DIR", help=f"where the pictures go{default}"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there already")
    add_loading_flags(parser)


def add_loading_flags(parser: argparse.ArgumentParser) -> None:
    """Where a trained model goes, and whose classes it may name."""
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps")
    parser.add_argument(
        "--trust",
        nargs="*",
        default=(),
        metavar="PACKAGE",
        help="packages of your own whose classes the model may name",
    )


def check_share(flag: str, value: float) -> None:
    """Raise an error that names the flag if a value is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{flag} must be in [0, 1], got {value}")


def choose_strength(generator: Any, strength: float | None, instead: str) -> float | None:
    """The given strength of a generator, or its default; None if it takes no strength.

    Raises: ValueError if a strength is given that the generator does not take; the error says what to do ``instead``.
    """
    from scumble.networks.strength import takes_strength

    if takes_strength(generator):
        return float(generator.default_strength if strength is None else strength)
    if strength is not None:
        raise ValueError(f"--strength: the generator is {type(generator).__name__}, which takes none; {instead}")
    return None


def check_targets(targets: Sequence[Path], overwrite: bool) -> None:
    """Raise an error if two pictures have one target, or if one is there already and must not be overwritten."""
    seen: set[Path] = set()
    for target in targets:
        if target in seen:
            raise ValueError(f"two pictures would be written to {target}; stylize them into different folders")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} is there already; give another --output, or --overwrite")
        seen.add(target)
