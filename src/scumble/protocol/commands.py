"""``scumble protocol`` and ``scumble evaluate --protocol``: their flags."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scumble.flags import add_loading_flags

DESCRIPTION = "Freeze an evaluation in a file (create), or test which differences between scores are real (compare)."


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and do what is asked; user errors print one line."""
    options = _parser().parse_args(arguments)
    try:
        if options.action == "create":
            create(
                options.content,
                options.style,
                options.output,
                pairs=options.pairs,
                size=options.size,
                seed=options.seed,
                metrics=options.metrics,
                encoder=options.encoder,
                lpips=options.lpips,
                inception=options.inception,
                clips=options.clip,
                clip_styles=options.clip_styles,
            )
        else:
            compare(options.scores)
    except (ValueError, OSError) as error:
        sys.exit(f"scumble protocol: {error}")


def evaluate(arguments: Sequence[str]) -> None:
    """``scumble evaluate --protocol``: parse the flags and measure; user errors print one line."""
    options = _evaluate_parser().parse_args(arguments)
    from scumble.protocol.evaluate import evaluate as measure

    try:
        measure(
            options.protocol,
            options.model,
            options.images,
            strengths=options.strength,
            files=options.files,
            output=options.output,
            batch_size=options.batch_size,
            threads=options.threads,
            trust=options.trust,
            device=options.device,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"scumble evaluate: {error}")


def create(
    content: Sequence[str | Path],
    style: Sequence[str | Path],
    output: str | Path,
    *,
    pairs: str = "grid",
    size: int = 256,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    encoder: Sequence[str] = ("distilled",),
    lpips: Sequence[str] | None = None,
    inception: str | Path | None = None,
    clips: Sequence[str | Path] = (),
    clip_styles: int | None = None,
) -> None:
    """Write a protocol over the images of some folders; see :func:`scumble.protocol.creation.make_protocol`.

    Raises: ValueError or OSError about the images, the pairs, the clips, the networks, or a protocol that is there
    already.
    """
    from scumble.protocol.creation import make_protocol

    if Path(output).exists():
        raise FileExistsError(f"{output} is there already, and a protocol does not change; give another --output")
    made = make_protocol(content, style, pairs, size, seed, metrics, encoder, lpips, inception, clips, clip_styles)
    made.write(output)
    shown = f"{len(made.clips)} clips in {len(made.clip_styles)} styles, " if made.clips else ""
    print(
        f"{output}: {len(made.pairs)} pairs of {len(made.content)} contents and {len(made.style)} styles at "
        f"{size}x{size}, {shown}{len(made.metrics)} metrics, id {made.id[:8]}"
    )


def compare(scores: Sequence[str | Path]) -> None:
    """Print the scores of several models, and which of their differences are real.

    Raises: ValueError if they are of different protocols.
    """
    from scumble.protocol.scores import find_scores, read_scores, table
    from scumble.protocol.significance import describe, paired_tests

    read = [read_scores(path) for path in find_scores(scores)]
    print(table(read))
    print(f"\n{describe(paired_tests(read))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble protocol", description=DESCRIPTION)
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="fix images, pairs, metrics, weights and the seed in a file")
    create.add_argument("--content", nargs="+", required=True, metavar="DIR", help="folders of photographs")
    create.add_argument("--style", nargs="+", required=True, metavar="DIR", help="folders of paintings")
    create.add_argument(
        "--pairs",
        default="grid",
        metavar="all|grid|CxS|N",
        help="every content with every style; 20 contents with 40 styles each (default); CxS; N of them",
    )
    create.add_argument("--size", type=int, default=256, help="the side of the square images (default: %(default)s)")
    create.add_argument("--seed", type=int, default=0, help="of the choice of pairs and of all that is drawn")
    create.add_argument("--metrics", nargs="+", metavar="NAME", help="which (default: all that the networks allow)")
    create.add_argument(
        "--encoder",
        nargs="+",
        default=["distilled"],
        metavar=("KIND", "WEIGHTS"),
        help="the perceptual encoder: distilled (default, no file), or vgg19_normalised, vgg19, vgg16 and a file",
    )
    create.add_argument(
        "--lpips",
        nargs=3,
        metavar=("KIND", "BACKBONE", "HEADS"),
        help="squeeze, alex or vgg, with the files of torchvision's network and of LPIPS's linear layers",
    )
    create.add_argument("--inception", metavar="FILE", help="torch-fidelity's weights of the Inception network of FID")
    create.add_argument(
        "--clip",
        nargs="+",
        default=[],
        metavar="DIR",
        help="videos, each a folder of frames in the order of their names",
    )
    create.add_argument(
        "--clip-styles",
        type=int,
        metavar="N",
        help="of the styles, those that a clip is painted in (default: 5, or all)",
    )
    create.add_argument("-o", "--output", required=True, metavar="FILE", help="where the protocol goes")
    compare = actions.add_parser("compare", help="a table, and paired tests of each model against the first")
    compare.add_argument(
        "scores", nargs="+", metavar="SCORES", help="what scumble evaluate --protocol wrote: files, or folders"
    )
    return parser


def _evaluate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scumble evaluate", description="Measure models, or pictures made elsewhere, under a frozen protocol."
    )
    parser.add_argument("--protocol", required=True, metavar="FILE", help="what scumble protocol create wrote")
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="RUN",
        help="run folders, checkpoint files, the YAML config of a generator with its weight files, or shipped, the "
        "painter that comes with scumble",
    )
    parser.add_argument(
        "--strength",
        nargs="+",
        type=float,
        default=[],
        metavar="S",
        help="measure every model at each of these strengths in [0, 1], as MODEL@S; for models that take a strength "
        "(default: once, at the model's own)",
    )
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="DIR", help="folders of pictures that are named CONTENT_STYLE"
    )
    parser.add_argument(
        "--files", nargs="+", default=[], metavar="DIR", help="where the protocol's images and weights are now"
    )
    parser.add_argument("--output", metavar="DIR", help="where the scores go (default: the folder of each run)")
    parser.add_argument(
        "--batch-size", type=int, default=4, help="pairs that are painted at once (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of the CPU (default: %(default)s)")
    add_loading_flags(parser)
    return parser
