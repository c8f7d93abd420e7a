"""``scumble check-resume``: prove for a config that a run which is killed and resumed ends as one that is not."""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from scumble.ledger import last_metrics

DESCRIPTION = """Prove for your own configuration that resume is exact: train some steps; train them again, killed with
SIGKILL at random moments and resumed each time; compare weights, optimizers and metrics bit for bit."""


class Process(Protocol):
    """A process that is the first of its own group, as ``subprocess.Popen`` with ``start_new_session`` makes it."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def wait(self) -> Any:
        """Wait for its end."""


class Outcome(NamedTuple):
    """What a proof has found: the step of the newest checkpoint at every kill, and the first difference in words."""

    killed_at: list[int]
    difference: str | None


def main(arguments: Sequence[str]) -> None:
    """Parse the flags, run the proof, and exit with 1 and the first difference if there is one."""
    options, overrides = _parser().parse_known_args(arguments)
    folder = Path(options.keep or tempfile.mkdtemp(prefix="scumble-check-resume-"))
    try:
        found = check_resume(overrides, folder, options.steps, options.kills, options.seed).difference
    except (ValueError, OSError) as error:
        sys.exit(f"scumble check-resume: {error}")
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if found:
        sys.exit(f"scumble check-resume: NOT exact. The first difference: {found}")
    print("The resumed run ends as the uninterrupted one, bit for bit.")


def start_command(arguments: Sequence[str], output: Path) -> Process:
    """``scumble ARGUMENTS`` as a process that says everything into a file."""
    command = [sys.executable, "-c", "from scumble.cli import main; main()", *arguments]
    with output.open("w") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )


def check_resume(
    overrides: Sequence[str],
    folder: str | Path,
    steps: int = 24,
    kills: int = 2,
    seed: int | None = None,
    start: Callable[[Sequence[str], Path], Process] = start_command,
) -> Outcome:
    """Train ``steps`` steps twice in ``folder``, the second time with ``kills``, and compare.

    A kill comes at a moment of its own, drawn by ``seed``, after the first step that the process has made. Checkpoints
    and validations come every few steps, unless the overrides say otherwise. ``start`` makes the processes.
    Raises: ValueError if a run fails by itself; what it said goes along.
    """
    folder, draw = Path(folder).absolute(), random.Random(seed)
    given = {override.split("=", 1)[0].lstrip("+~") for override in overrides}
    defaults = {
        "steps": steps,
        "val_every_n_steps": max(1, steps // 3),
        "checkpoint_every_n_steps": max(1, steps // 5),
        "logger": "csv",
    }
    own = [f"{key}={value}" for key, value in defaults.items() if key not in given]
    whole, killed = folder / "whole", folder / "killed"

    _, seconds = _train([*overrides, *own, f"run_dir={whole}"], whole, start)
    print(f"{_last_checkpoint(whole).stem}, {seconds:.0f} s of training without a kill", flush=True)

    killed_at = []
    command = [*overrides, *own, f"run_dir={killed}"]
    resumed = [*command, "resume=true"]  # all of them again: whom to trust is not taken from a run folder
    for _ in range(kills):
        # Together about as long as the run takes, so that most of the kills find it alive.
        was_killed, seconds_before = _train(command, killed, start, draw.uniform(0, 2 * seconds / (kills + 1)))
        if not was_killed:
            break  # it has come to its end
        killed_at.append(_newest_step(killed))
        print(f"killed {seconds_before:.1f} s after a first step", flush=True)
        command = resumed
    if not killed_at:
        raise ValueError("the runs ended before they could be killed; give more --steps")
    _train(resumed, killed, start)
    return Outcome(killed_at, next(differences(whole, killed), None))


def differences(first: Path, second: Path) -> Iterator[str]:
    """Where two finished runs differ, in words: their last checkpoints, then their metrics."""
    from scumble.checkpoint import read_checkpoint

    a, b = _last_checkpoint(first), _last_checkpoint(second)
    if a.name != b.name:
        yield f"the last checkpoints are {a.name} and {b.name}"
        return
    contents = [read_checkpoint(path) for path in (a, b)]
    for key in sorted(contents[0].keys() | contents[1].keys()):
        # Lightning's counters say how a run was cut into pieces; scumble's record has the folder of the run.
        if key not in ("loops", "scumble", "callbacks"):
            yield from _differences(contents[0].get(key), contents[1].get(key), key)
    metrics = [(run / "metrics.csv") for run in (first, second)]
    if all(path.is_file() for path in metrics):
        rows = [path.read_text().splitlines() for path in metrics]
        for line, (one, other) in enumerate(zip(*rows, strict=False), 1):
            if one != other:
                yield f"metrics.csv, line {line}: {one} and {other}"
        if len(rows[0]) != len(rows[1]):
            yield f"metrics.csv: {len(rows[0])} and {len(rows[1])} lines"


def _differences(first: Any, second: Any, key: str) -> Iterator[str]:
    import torch

    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if first.shape != second.shape or first.dtype != second.dtype:
            yield f"{key}: {tuple(first.shape)} {first.dtype} and {tuple(second.shape)} {second.dtype}"
        elif not torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (first, second))):
            largest = (first.double() - second.double()).abs().max()
            yield f"{key}: differs by up to {float(largest):.3g}"
    elif isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in sorted(first.keys() | second.keys(), key=str):
            if name in first and name in second:
                yield from _differences(first[name], second[name], f"{key}.{name}")
            else:
                yield f"{key}.{name}: only in the {'uninterrupted' if name in first else 'resumed'} run"
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            yield from _differences(a, b, f"{key}.{index}")
    elif first != second:
        yield f"{key}: {first!r} and {second!r}"


def _train(
    arguments: Sequence[str],
    run_dir: Path,
    start: Callable[[Sequence[str], Path], Process],
    kill_after: float | None = None,
) -> tuple[bool, float]:
    """``scumble train ARGUMENTS`` to its end, or killed so many seconds after the first step that it makes.

    Returns whether it was killed, and the seconds from that step to the end.
    """
    before = _newest_step(run_dir)
    row_before = _last_row(run_dir)
    with tempfile.NamedTemporaryFile("r") as output:
        process = start(["train", *arguments], Path(output.name))
        first_step: float | None = None
        try:
            while process.poll() is None:
                time.sleep(0.01)
                if first_step is None and _has_stepped(run_dir, before, row_before):
                    first_step = time.monotonic()
                if first_step and kill_after is not None and time.monotonic() - first_step >= kill_after:
                    break
        finally:
            killed = process.poll() is None
            if killed:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.poll() and not killed:
            raise ValueError(f"the run itself failed:\n{output.read()[-3000:]}")
    return killed, time.monotonic() - first_step if first_step else 0.0


class _Row(NamedTuple):
    """The last row of ``metrics.csv``: when the file was written, and the step."""

    written: int
    step: int


def _last_row(run_dir: Path) -> _Row:
    path = run_dir / "metrics.csv"
    written, step = path.stat().st_mtime_ns if path.is_file() else 0, last_metrics(run_dir).get("step", "")
    return _Row(written, int(step) if step.isdigit() else 0)


def _has_stepped(run_dir: Path, checkpoint_before: int, row_before: _Row) -> bool:
    """Whether a process has visibly made a step: metrics past the checkpoint that it began with, or a new checkpoint.

    That the metrics were written is not enough: a run begins with dropping the rows past its checkpoint, long before
    its first step, and kills so early would all find the same state.
    """
    row = _last_row(run_dir)
    stepped = row.written != row_before.written and row.step > checkpoint_before
    return stepped or _newest_step(run_dir) != checkpoint_before


def _newest_step(run_dir: Path) -> int:
    from scumble.checkpoint import list_checkpoints

    return next(iter(list_checkpoints(run_dir)), 0)


def _last_checkpoint(run_dir: Path) -> Path:
    from scumble.checkpoint import list_checkpoints

    found = next(iter(list_checkpoints(run_dir).values()), None)
    if found is None:
        raise ValueError(f"the run wrote no checkpoint into {run_dir}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scumble check-resume", description=DESCRIPTION, usage="scumble check-resume [--flags] [key=value ...]"
    )
    parser.add_argument("--steps", type=int, default=24, help="steps of each run (default: %(default)s)")
    parser.add_argument(
        "--kills", type=int, default=2, help="how often the second run is killed (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=None, help="of the moments of the kills (default: others each time)"
    )
    parser.add_argument("--keep", metavar="DIR", default=None, help="keep the two runs here")
    return parser
