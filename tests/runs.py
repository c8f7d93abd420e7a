"""Small real runs for the tests: folders of images, and `scumble` as a process of its own."""

import io
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from scumble.cli import main
from scumble.images import write_image
from scumble.networks.painter import Painter

# Ranks are forked from a process that has imported everything, once for all tests.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["scumble.run", "scumble.hydra_app", "torchmetrics"])

TINY = (
    "debug=tiny",
    "data=folders",
    "data.validation_size=32",
    "data.validation_pairs=2",
    "generator=residual_attention",
    "generator.width=8",
    "generator.residual_blocks=1",
    "discriminator.width=8",
    "discriminator.layers=2",
    "perceptual_encoder.weights=null",
    "logger=csv",
)


def make_images(folder: Path, count: int, seed: int = 0, side: int = 48) -> Path:
    """Smooth random pictures, each with colours of its own."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        coarse = torch.from_numpy(rng.random((1, 3, 6, 6), dtype=np.float32))
        picture = torch.nn.functional.interpolate(coarse, (side, side + 8), mode="bicubic").clamp(0, 1)[0]
        write_image(picture, folder / f"{index:03d}.png")
    return folder


def write_painter(path: Path) -> Path:
    """Weights of a painter that has not learned anything, random enough that style and strength show."""
    painter = Painter()
    with torch.no_grad():
        for name, parameter in painter.named_parameters():
            if name.endswith("affine.weight") or name.startswith("to_paint.weight"):
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(painter.state_dict(), path)
    return path


def scumble(*arguments: str, cwd: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """`scumble ARGUMENTS` to its end."""
    result = subprocess.run(
        _command(arguments), cwd=cwd, env=_environment(environment), capture_output=True, text=True, timeout=1200
    )
    if check and result.returncode:
        raise AssertionError(f"scumble {' '.join(arguments)} ended with {result.returncode}:\n{result.stderr[-3000:]}")
    return result


def scumble_here(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """:func:`scumble` within this process: the seconds of importing torch are spent once."""
    stdout, stderr = io.StringIO(), io.StringIO()
    root, threads, arguments_before = logging.getLogger(), torch.get_num_threads(), sys.argv
    handlers, level = root.handlers[:], root.level
    returncode = 0
    sys.argv = ["scumble", *arguments]
    try:
        with (
            chdir(cwd), redirect_stdout(stdout), redirect_stderr(stderr), warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            main()
    except SystemExit as error:
        if isinstance(error.code, str):
            stderr.write(error.code)
        returncode = error.code if isinstance(error.code, int) else int(error.code is not None)
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        sys.argv, root.handlers, root.level = arguments_before, handlers, level
        torch.set_num_threads(threads)
    if check and returncode:
        raise AssertionError(f"scumble {' '.join(arguments)} ended with {returncode}:\n{stderr.getvalue()[-3000:]}")
    return subprocess.CompletedProcess(arguments, returncode, stdout.getvalue(), stderr.getvalue())


def scumble_on_ranks(
    ranks: int, *arguments: str, cwd: Path, check: bool = True, nodes: int = 1, last: Sequence[str] = ()
) -> list[subprocess.CompletedProcess[str]]:
    """`scumble ARGUMENTS` as so many processes on so many nodes; the last one also has the arguments `last`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cwd.mkdir(parents=True, exist_ok=True)
    arguments = (*arguments, "trainer=ddp_sim", f"++trainer.num_nodes={nodes}", f"trainer.devices={ranks // nodes}")
    outputs = [cwd / f"rank{rank}.{port}.txt" for rank in range(ranks)]
    processes = []
    for rank in range(ranks):
        place = {"NODE_RANK": rank // (ranks // nodes), "LOCAL_RANK": rank % (ranks // nodes)}
        environment = {key: str(value) for key, value in place.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        given = (*arguments, *(last if rank == ranks - 1 else ()))
        processes.append(FORKS.Process(target=_rank, args=(rank, given, cwd, environment, outputs[rank])))
        processes[-1].start()
    results = []
    for rank, process in enumerate(processes):
        process.join(600)
        text = outputs[rank].read_text()
        if process.exitcode is None or (check and process.exitcode):
            for other in processes:
                other.kill()
            raise AssertionError(f"rank {rank} of scumble {' '.join(arguments)}: {process.exitcode}\n{text[-3000:]}")
        results.append(subprocess.CompletedProcess(arguments, process.exitcode, text))
    return results


def _rank(rank: int, arguments: Sequence[str], cwd: Path, environment: dict[str, str], output: Path) -> None:
    """One process of :func:`scumble_on_ranks`."""
    from lightning.pytorch.utilities import rank_zero_only

    os.environ.update(environment)
    rank_zero_only.rank = rank  # Lightning looked for it in the environment when it was imported
    with output.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(cwd)
    sys.argv = ["scumble", *arguments]
    main()


def scumble_killed_at(step: int, *arguments: str, cwd: Path, run_dir: Path) -> None:
    """`scumble ARGUMENTS`, killed with SIGKILL as soon as its metrics show a step."""
    process = subprocess.Popen(
        _command(arguments), cwd=cwd, env=_environment({}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        if last_step(run_dir) >= step:
            break
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def last_step(run_dir: Path) -> int:
    """The last step in metrics.csv, 0 if there is none yet."""
    try:
        return int((run_dir / "metrics.csv").read_text().splitlines()[-1].split(",")[0])
    except (OSError, ValueError, IndexError):
        return 0


def difference(first: Any, second: Any, path: str = "") -> list[str]:
    """The keys at which two checkpoints differ by a bit."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return [] if torch.equal(first, second) and first.dtype == second.dtype else [path]
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return [f"{path}: keys {sorted(map(str, first.keys() ^ second.keys()))}"]
        return [found for key in first for found in difference(first[key], second[key], f"{path}.{key}")]
    if isinstance(first, Sequence) and not isinstance(first, str) and isinstance(second, Sequence):
        if len(first) != len(second):
            return [f"{path}: lengths"]
        return [
            found
            for i, (a, b) in enumerate(zip(first, second, strict=True))
            for found in difference(a, b, f"{path}.{i}")
        ]
    return [] if first == second else [f"{path}: {first!r} {second!r}"]


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", "from scumble.cli import main; main()", *arguments]


def _environment(extra: dict[str, str]) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"} | extra
