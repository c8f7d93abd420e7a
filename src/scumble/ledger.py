"""The ledger: the state of every run, kept in its folder, so that a sweep can be inspected and resumed."""

import csv
import json
import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from scumble.config import config_hash
from scumble.files import atomic_write
from scumble.resume import in_any_folder
from scumble.slurm import Queue, own_job

STATUS_FILE = "status.json"
# In the folder of a run of a sweep that failed: what went wrong, and where.
ERROR_FILE = "error.txt"


class State(StrEnum):
    """The state of a run. STOPPED: a monitor ended it.

    A killed run still says RUNNING; check whether its process is alive.
    """

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    PREEMPTED = "preempted"


# Final states: such a run is not trained again with the same config.
FINISHED = (State.DONE, State.STOPPED)


class Status(NamedTuple):
    """What a run folder says of its run.

    ``key`` is the hash of its config, ``step`` that of its newest checkpoint, ``steps`` its length (0 if not known),
    ``reason`` what the monitor said that stopped it, ``job`` the name of its job of SLURM.
    """

    state: State
    key: str
    step: int
    metrics: dict[str, float]
    host: str
    process: int
    steps: int = 0
    reason: str = ""
    job: str | None = None


def run_key(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that two resolved configs share only if they ask for the same run, in any folder.

    Where it is logged does not matter: a run that was resumed alone is in another group of W&B than in its sweep.
    """
    return config_hash({name: value for name, value in in_any_folder(config).items() if name != "logger"})


def record(
    run_dir: str | Path,
    state: State,
    config: Mapping[str, Any],
    step: int = 0,
    metrics: Mapping[str, float] | None = None,
    reason: str = "",
) -> None:
    """Write the state of a run into its folder; ``step`` is that of its newest checkpoint.

    The error of an earlier attempt is gone with any state but failed.
    """
    status = Status(
        state=state,
        key=run_key(config),
        step=step,
        metrics=dict(metrics or {}),
        host=socket.gethostname(),
        process=os.getpid(),
        steps=config.get("steps", 0),
        reason=reason,
        job=own_job(),
    )
    with atomic_write(Path(run_dir) / STATUS_FILE) as file:
        file.write(json.dumps(status._asdict(), indent=2).encode())
    if state != State.FAILED:
        (Path(run_dir) / ERROR_FILE).unlink(missing_ok=True)


def read_status(run_dir: str | Path, queue: Queue | None = None) -> Status | None:
    """What a run folder says of its run; None if it says nothing that can be read.

    A run whose process on this machine is gone, or whose job is in no queue, was killed: it is preempted. Of other
    machines only their word is known. Without a ``queue`` SLURM is asked.
    """
    try:
        found = json.loads((Path(run_dir) / STATUS_FILE).read_text())
        status = Status(**found | {"state": State(found["state"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    is_gone = status.host == socket.gethostname() and not _is_alive(status.process)
    if status.state == State.RUNNING and (is_gone or (queue or Queue()).has(status.job) is False):
        return status._replace(state=State.PREEMPTED)
    return status


def other_job(run_dir: str | Path, queue: Queue | None = None) -> str | None:
    """The job in SLURM's queue that trains this run or will resume it, unless it is the job of this process."""
    queue = queue or Queue()
    status = read_status(run_dir, queue)
    if status is None or status.state in FINISHED or status.job == own_job() or not queue.has(status.job):
        return None
    return status.job


def is_done(run_dir: str | Path, config: Mapping[str, Any], step: int = 0, queue: Queue | None = None) -> Status | None:
    """The status of a run that was finished with the very same config, if ``step`` is still its newest checkpoint's.

    A run that a monitor stopped is finished as well.
    """
    status = read_status(run_dir, queue)
    if status is None or (status.key, status.step) != (run_key(config), step):
        return None
    return status if status.state in FINISHED else None


def state_of(run_dir: str | Path, queue: Queue | None = None) -> State:
    """Where a run stands; one whose last attempt ended in an error before it could train failed as well."""
    status = read_status(run_dir, queue)
    if read_error(run_dir) and (status is None or status.state not in FINISHED):
        return State.FAILED
    return status.state if status else State.PENDING


def read_error(run_dir: str | Path) -> str:
    """The first line of what went wrong in the last attempt of a run of a sweep; empty if nothing did."""
    try:
        return (Path(run_dir) / ERROR_FILE).read_text(errors="replace").split("\n", 1)[0]
    except OSError:
        return ""


def last_metrics(run_dir: str | Path) -> dict[str, str]:
    """The last value of each column of a run's ``metrics.csv``, which may be in writing; nothing if there is none."""
    try:
        whole = (Path(run_dir) / "metrics.csv").read_text().rpartition("\n")[0].splitlines()
    except FileNotFoundError:
        return {}
    return {name: value for row in csv.DictReader(whole) for name, value in row.items() if value}


def is_trained_elsewhere(run_dir: str | Path, queue: Queue | None = None) -> Status | None:
    """The status of a run that another process on this machine is training now."""
    status = read_status(run_dir, queue)
    own_host = status is not None and status.host == socket.gethostname()
    if status is None or status.state != State.RUNNING or not own_host or status.process == os.getpid():
        return None
    return status


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True
