"""``scumble sweep``: plan a sweep, look at it, and go on with what is not done or failed."""

import argparse
import csv
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scumble.ledger import STATUS_FILE, State, read_error, read_status, state_of

DESCRIPTION = "Plan a sweep, look at it, train what is not done of it, or what failed."
METRICS = ("val/content_distance", "val/style_distance")
# The choices of hydra/sweeper that draw values.
SEARCHES = ("optuna", "random")


class Run(NamedTuple):
    """A run of a sweep, by its folder within the sweep's, or by its overrides if it has none yet.

    ``steps`` says how far it is, ``metrics`` are its last ones, and ``note`` is what to know of its state.
    """

    name: str
    state: State
    note: str = ""
    steps: str = ""
    metrics: dict[str, str] = {}  # noqa: RUF012


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and do what is asked; what the user can mend ends in one line."""
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
    from scumble.hydra_app import quoted, train

    before = [*overrides_of(folder), *sweeper_of(folder)]
    if resume == "failed" and sweeper_of(folder):
        raise ValueError(
            f"{folder} is a search, which has drawn other values since; `scumble sweep resume` goes on with it"
        )
    train(["-m", *before, *overrides, f"resume={resume}", f"hydra.sweep.dir={quoted(folder)}"])


def _tell_front(folder: str) -> None:
    """Print the trade-off front of a search, if the folder is of one."""
    if sweeper_of(folder):
        from scumble.sweeps.search import describe_front, read_front

        if front := read_front(folder):
            print(f"\n{describe_front(front)}")


def overrides_of(folder: str | Path) -> list[str]:
    """The overrides that a sweep was started with; not Hydra's own, which a folder must not decide.

    Raises: ValueError if the folder is no sweep of Hydra's.
    """
    return _overrides(folder)["task"]


def sweeper_of(folder: str | Path) -> list[str]:
    """The overrides that chose and set up the sweeper of a search; none if the sweep is a grid.

    Of a folder only the sweepers of scumble are taken, and plain values for them.
    """
    words = _overrides(folder)["hydra"]
    chosen = [word for word in words if word in (f"hydra/sweeper={name}" for name in SEARCHES)]
    return chosen and chosen + [word for word in words if re.match(r"\+?hydra\.sweeper\.[a-z]", word)]


def _overrides(folder: str | Path) -> dict[str, list[str]]:
    path = Path(folder) / "multirun.yaml"
    try:
        found: Any = yaml.safe_load(path.read_text())
        given = {"hydra": [], **found["hydra"]["overrides"]}
        return {part: [str(word) for word in given[part]] for part in ("task", "hydra")}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is no folder of a sweep: {path.name} cannot be read in it ({error})") from error


def runs_of(folder: str | Path) -> list[Run]:
    """All runs of a sweep: those with a folder, by what it says, and the pending ones.

    What is pending is known of grids; a sampler that draws its values decides them one after the other.
    """
    from scumble.hydra_app import runs_of_grid

    folder = Path(folder)
    pending = [] if sweeper_of(folder) else runs_of_grid(overrides_of(folder))
    runs = []
    for path in sorted(folder.rglob(".hydra/overrides.yaml")):
        run_dir = path.parents[1]
        own = {str(word) for word in yaml.safe_load(path.read_text()) or []}
        pending = [words for words in pending if not set(words) <= own]
        runs.append(_run(run_dir, str(run_dir.relative_to(folder))))
    return runs + [Run(" ".join(words), State.PENDING) for words in pending]


def _run(run_dir: Path, name: str) -> Run:
    state, status, logged = state_of(run_dir), read_status(run_dir), _last_values(run_dir / "metrics.csv")
    if status is None:
        return Run(name, state, read_error(run_dir))
    step = logged.pop("step", "0")
    done = max(int(step) if step.isdigit() else 0, status.step)
    note = read_error(run_dir) or status.reason
    if state == State.RUNNING and status.host != socket.gethostname():
        note = f"on {status.host}, heard of {_minutes_since(run_dir)} minutes ago"
    metrics = logged | {name: str(value) for name, value in status.metrics.items()}
    return Run(name, state, note, f"{done}/{status.steps}" if status.steps else str(done), metrics)


def _last_values(path: Path) -> dict[str, str]:
    """The last value of each column of a metrics file that may be in writing; nothing if there is none."""
    try:
        whole = path.read_text().rpartition("\n")[0].splitlines()
    except FileNotFoundError:
        return {}
    return {name: value for row in csv.DictReader(whole) for name, value in row.items() if value}


def _minutes_since(run_dir: Path) -> int:
    """The minutes since a run wrote its state or its metrics."""
    files = [path for path in (run_dir / STATUS_FILE, run_dir / "metrics.csv") if path.is_file()]
    return int(max(0, time.time() - max(path.stat().st_mtime for path in files)) / 60)


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
