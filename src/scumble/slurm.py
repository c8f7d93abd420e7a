"""SLURM: which job this process is of, and what is in the queue."""

import os
import subprocess
from functools import cached_property

# What a scheduler counts up when it starts the same job again: after a requeue, and after torchrun --max-restarts.
RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")


def is_started_again() -> bool:
    """Whether a scheduler has started this very job before: it cannot say ``resume=true``, and means it."""
    return any(int(os.environ.get(name, 0)) for name in RESTARTS)


def own_job() -> str | None:
    """The name of the job of this process, JOB or ARRAY_INDEX; None outside of SLURM."""
    array, index = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{index}" if array else os.environ.get("SLURM_JOB_ID")


def queued_jobs() -> set[str] | None:
    """The names of this user's jobs that wait or run; None if there is no SLURM here, or no answer."""
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(result.stdout.split())


class Queue:
    """The jobs of this user in SLURM's queue, asked for once, when they are first needed.

    A command that looks at many runs makes one and passes it on; the next command makes another.
    """

    @cached_property
    def jobs(self) -> set[str] | None:
        """As :func:`queued_jobs`."""
        return queued_jobs()

    def has(self, job: str | None) -> bool | None:
        """Whether a job waits or runs; None if that cannot be known."""
        return None if job is None or self.jobs is None else job in self.jobs
