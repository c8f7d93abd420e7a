"""Several runs at a time on one machine: how many, and what each process of theirs has to itself."""

import multiprocessing
import os
import socket
from collections.abc import Sequence

# Bound for as long as this process lives.
_claims: list[socket.socket] = []


def runs_at_a_time(threads: int, accelerator: str = "cpu", devices: int | str = 1) -> int:
    """How many runs this machine is for: one for every ``threads`` cores, or for every ``devices`` GPUs; at least 1."""
    from joblib import cpu_count  # of this process: less than the machine's in a container or a job

    if accelerator not in ("gpu", "cuda"):
        return max(1, int(cpu_count()) // threads)
    return max(1, len(shares_of(visible_gpus(), devices)))


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def shares_of(gpus: Sequence[str], devices: int | str) -> list[list[str]]:
    """The GPUs in shares of ``devices``; one share of all of them if each run asks for all (-1, auto)."""
    size = devices if isinstance(devices, int) and devices > 0 else len(gpus)
    return [list(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)] if size else []


def prepare_worker(devices: int | str = 1) -> None:
    """Make a process of joblib ready to train, before it touches a GPU; any other process stays as it is.

    joblib's start method (loky) cannot start DataLoader workers. joblib assigns no GPUs either: the process takes a
    share of them (:func:`shares_of`) that none of its siblings has, while there are enough. The progress bars of
    several processes would overwrite each other.
    """
    if multiprocessing.get_start_method(allow_none=True) != "loky":
        return
    multiprocessing.set_start_method("fork", force=True)
    os.environ.setdefault("TQDM_DISABLE", "1")
    shares = shares_of(visible_gpus(), devices)
    if len(shares) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(shares[_own_number() % len(shares)])


def _own_number() -> int:
    """The lowest number that no other process of the same parent has."""
    number = 0
    while not _claimed(number):
        number += 1
    return number


def _claimed(number: int) -> bool:
    """Whether the number was free; it is this process's from now on, and free again when the process has ended."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0scumble-{os.getppid()}-{number}")  # no file: the name is of Linux's abstract namespace
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
