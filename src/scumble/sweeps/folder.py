"""What the folder of a sweep says: how the sweep was started, and its runs."""

import re
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scumble.ledger import STATUS_FILE, State, last_metrics, read_error, read_status, state_of
from scumble.slurm import Queue

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


def runs_of(folder: str | Path, queue: Queue | None = None) -> list[Run]:
    """All runs of a sweep: those with a folder, by what it says, and the pending ones.

    What is pending is known of grids; a sampler that draws its values decides them one after the other.
    """
    from scumble.overrides import runs_of_grid

    folder = Path(folder)
    pending = [] if sweeper_of(folder) else runs_of_grid(overrides_of(folder))
    runs, queue = [], queue or Queue()
    for path in sorted(folder.rglob(".hydra/overrides.yaml")):
        run_dir = path.parents[1]
        own = {str(word) for word in yaml.safe_load(path.read_text()) or []}
        pending = [words for words in pending if not set(words) <= own]
        runs.append(_run(run_dir, str(run_dir.relative_to(folder)), queue))
    return runs + [Run(" ".join(words), State.PENDING) for words in pending]


def _run(run_dir: Path, name: str, queue: Queue) -> Run:
    state, status, logged = state_of(run_dir, queue), read_status(run_dir, queue), last_metrics(run_dir)
    if status is None:
        return Run(name, state, read_error(run_dir))
    step = logged.pop("step", "0")
    done = max(int(step) if step.isdigit() else 0, status.step)
    note = read_error(run_dir) or status.reason
    if state == State.RUNNING and status.host != socket.gethostname():
        note = f"on {status.host}, heard of {_minutes_since(run_dir)} minutes ago"
    metrics = logged | {name: str(value) for name, value in status.metrics.items()}
    return Run(name, state, note, f"{done}/{status.steps}" if status.steps else str(done), metrics)


def _minutes_since(run_dir: Path) -> int:
    """The minutes since a run wrote its state or its metrics."""
    files = [path for path in (run_dir / STATUS_FILE, run_dir / "metrics.csv") if path.is_file()]
    return int(max(0, time.time() - max(path.stat().st_mtime for path in files)) / 60)
