"""What a run runs on: the commit of the code, the versions of what it is made with, the device."""

import json
import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from scumble.files import atomic_write

ENVIRONMENT_FILE = "environment.json"
PACKAGES = ("scumble", "torch", "torchvision", "lightning", "hydra-core", "wandb", "numpy")
# A checkout on a slow disk must not hold up a run.
_GIT_SECONDS = 10


def describe_environment(device: torch.device, devices: int = 1) -> dict[str, Any]:
    """What this process runs on, as plain data; ``git`` is the checkout where the user stands, None outside of one."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "device": device_name(device),
        "devices": devices,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "python": sys.executable,
        "git": git_state(Path.cwd()),
        "git_of_scumble": git_state(Path(__file__).parent),
    }


def device_name(device: torch.device) -> str:
    """The name of a graphics card, else the type of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def git_state(folder: str | Path) -> dict[str, Any] | None:
    """The commit of the checkout that a folder is in, and whether tracked files differ from it; None outside of one."""
    commit = _git(folder, "rev-parse", "HEAD")
    # Untracked files are not looked for: a checkout may hold data sets and runs.
    changes = commit and _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)} if commit and changes is not None else None


def record_environment(run_dir: str | Path, environment: dict[str, Any]) -> None:
    """Add an environment to ``environment.json`` of a run, which has one for each start and each resume."""
    path = Path(run_dir) / ENVIRONMENT_FILE
    earlier = read_environments(run_dir)
    with atomic_write(path) as file:
        file.write(json.dumps([*earlier, environment], indent=2).encode())


def read_environments(run_dir: str | Path) -> list[dict[str, Any]]:
    """What a run ran on, the first start first; empty if its folder does not say."""
    try:
        found = json.loads((Path(run_dir) / ENVIRONMENT_FILE).read_text())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _git(folder: str | Path, *arguments: str) -> str | None:
    """What git prints, None if it fails or is not there; it takes no lock and runs no program of the checkout's."""
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
