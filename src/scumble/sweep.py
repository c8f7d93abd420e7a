"""``scumble sweep``: look at a sweep, and go on with what is not done."""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scumble.ledger import State, read_error, read_status

DESCRIPTION = "Look at a sweep (status), or train what is not done of it (resume)."


# The choices of hydra/sweeper that draw values.
SEARCHES = ("optuna", "random")


class Run(NamedTuple):
    """A run of a sweep, by its folder within the sweep's, or by its overrides if it has none yet."""

    name: str
    state: State
    error: str


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and do what is asked; what the user can mend ends in one line."""
    options = _parser().parse_args(arguments)
    try:
        if options.action == "status":
            print(describe(runs_of(options.folder)))
            if sweeper_of(options.folder):
                from scumble.search import describe_front, read_front

                if front := read_front(options.folder):
                    print(f"\n{describe_front(front)}")
        else:
            from scumble.hydra_app import train

            train(["-m", *overrides_of(options.folder), *sweeper_of(options.folder), *options.overrides, "resume=true",
                   f"hydra.sweep.dir={options.folder}"])  # fmt: skip
    except (ValueError, OSError) as error:
        sys.exit(f"scumble sweep: {error}")


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
        return {part: [str(word) for word in found["hydra"]["overrides"][part]] for part in ("task", "hydra")}
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
        run = path.parents[1]
        own = {str(word) for word in yaml.safe_load(path.read_text()) or []}
        pending = [words for words in pending if not set(words) <= own]
        status = read_status(run)
        message = read_error(run) or (status.reason if status else "")
        state = status.state if status else State.FAILED if message else State.PENDING
        runs.append(Run(str(run.relative_to(folder)), state, message))
    return runs + [Run(" ".join(words), State.PENDING, "") for words in pending]


def describe(runs: Sequence[Run]) -> str:
    """A table of the runs, and how many there are of each state."""
    width = max((len(run.name) for run in runs), default=0)
    lines = [f"{run.state:<9}  {run.name:<{width}}  {run.error}".rstrip() for run in runs]
    counted = Counter(run.state for run in runs)
    return "\n".join([*lines, ", ".join(f"{counted[state]} {state}" for state in State if counted[state])])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble sweep", description=DESCRIPTION)
    actions = parser.add_subparsers(dest="action", required=True)
    status = actions.add_parser("status", help="the state of each of its runs")
    resume = actions.add_parser(
        "resume", help="train what is not done, in the same folders, each from its newest good checkpoint"
    )
    for action in (status, resume):
        action.add_argument("folder", metavar="SWEEP_DIR", help="the folder of the sweep")
    resume.add_argument(
        "overrides", nargs="*", metavar="key=value", help="further overrides, hydra/launcher=... among them"
    )
    return parser
