"""``scumble sweep``: plan a sweep, show its runs, and resume or retry them."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from scumble.ledger import State
from scumble.sweeps.folder import Run, overrides_of, runs_of, sweeper_of

DESCRIPTION = "Plan a sweep, look at it, train what is not done of it, or what failed."
METRICS = ("val/content_distance", "val/style_distance")


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and do what is asked; user errors print one line."""
    options = _parse(arguments)
    try:
        if options.action == "plan":
            from scumble.sweeps.plan import plan

            sys.exit(plan(options.overrides))
        elif options.action == "status":
            print(describe(runs_of(options.folder), options.metric or METRICS))
            _tell_front(options.folder)
        else:
            _train(options.folder, options.overrides, "true" if options.action == "resume" else "failed")
    except (ValueError, OSError) as error:
        sys.exit(f"scumble sweep: {error}")


def _train(folder: str, overrides: Sequence[str], resume: str) -> None:
    from scumble.hydra_app import train
    from scumble.overrides import quoted

    before = [*overrides_of(folder), *sweeper_of(folder)]
    if resume == "failed" and sweeper_of(folder):
        raise ValueError(f"{folder} is a search, which has drawn other values since; `scumble sweep resume` resumes it")
    train(["-m", *before, *overrides, f"resume={resume}", f"hydra.sweep.dir={quoted(folder)}"])


def _tell_front(folder: str) -> None:
    """Print the trade-off front of a search, if the folder is of one."""
    if sweeper_of(folder):
        from scumble.sweeps.search import describe_front, read_front

        if front := read_front(folder):
            print(f"\n{describe_front(front)}")


def describe(runs: Sequence[Run], metrics: Sequence[str] = ()) -> str:
    """A table of the runs, with those of the metrics that they have, and how many runs there are of each state."""
    shown = [name for name in metrics if any(name in run.metrics for run in runs)]
    header = ["state", "step", *(name.removeprefix("val/") for name in shown), "run", ""]
    rows = [
        [run.state, run.steps, *(_short(run.metrics.get(name, "")) for name in shown), run.name, run.note]
        for run in runs
    ]
    counted = Counter(run.state for run in runs)
    return "\n".join(
        [*in_columns([header, *rows]), ", ".join(f"{counted[state]} {state}" for state in State if counted[state])]
    )


def in_columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with the cells of the rows below each other."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _short(value: str) -> str:
    return f"{float(value):.4g}" if value else ""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags; overrides may stand before and after them, and what is planned with or without its ``-m``."""
    parser = _parser()
    options, further = parser.parse_known_args([word for word in arguments if word not in ("-m", "--multirun")])
    if further and (options.action == "status" or any(word.startswith("-") for word in further)):
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    options.overrides = [*getattr(options, "overrides", []), *further]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble sweep", description=DESCRIPTION)
    actions = parser.add_subparsers(dest="action", required=True)
    plan = actions.add_parser("plan", help="what scumble train -m would train, what cannot be, and what it would cost")
    status = actions.add_parser("status", help="the state of each of its runs")
    resume = actions.add_parser(
        "resume", help="train what is not done, in the same folders, each from its newest good checkpoint"
    )
    retry = actions.add_parser("retry", help="train what failed, and nothing else, in the same way")
    for action in (status, resume, retry):
        action.add_argument("folder", metavar="SWEEP_DIR", help="the folder of the sweep")
    status.add_argument(
        "--metric", action="append", metavar="NAME", help=f"show it, may be repeated (default: {', '.join(METRICS)})"
    )
    retry.add_argument("--failed", action="store_true", help="those that failed, which is what retry is for anyway")
    for action, what in (
        (plan, "what would follow scumble train -m"),
        (resume, "further overrides"),
        (retry, "further overrides"),
    ):
        action.add_argument("overrides", nargs="*", metavar="key=value", help=f"{what}, hydra/launcher=... among them")
    return parser
