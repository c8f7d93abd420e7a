"""The cost of a sweep through joblib: its time over that of the bare training, divided by the workers.

Bare training is ``Trainer.fit`` of the same runs, with all callbacks, and nothing around it: no start of Python, no
imports, no composing of configs, no networks and data to be made, and no W&B (``logger=csv``; the sweep has the default
loggers). It is timed in as many processes as the sweep has workers, at the same time, each with its share of the runs
and as many threads, after one run that warms it up and is not counted. The sweep is timed from the command to its end.

    python benchmarks/joblib_sweep.py --runs 24 --workers 2 --steps 60
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scumble.ledger import STATUS_FILE, State, read_status

COMMON = ("threads=1", "data.image_size=64", "generator.width=16", "discriminator.width=16", "val_every_n_steps=1000")


def main() -> None:
    """Time the bare training and the sweep, and print both and their ratio."""
    options = _parser().parse_args()
    if options.bare:
        print(json.dumps(bare([int(seed) for seed in options.bare.split(",")], options.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        alone = in_processes(options.runs, options.workers, options.steps)
        whole = sweep(Path(folder), options.runs, options.workers, options.steps)
        found = [read_status(path.parent) for path in Path(folder).rglob(STATUS_FILE)]
    ideal = alone / options.workers
    print(f"{options.runs} runs of {options.steps} steps, {options.workers} workers, one thread each")
    print(f"bare training: {alone:.1f} s in all, {ideal:.1f} s divided by the workers")
    print(f"sweep:         {whole:.1f} s, {whole / ideal:.3f} times that")
    done = sum(status is not None and status.state == State.DONE for status in found)
    print(f"{done} runs done, by {len({status.process for status in found if status})} processes")


def in_processes(runs: int, workers: int, steps: int) -> float:
    """The seconds of the bare training of all runs, by as many processes at work as there are workers."""
    shares = [",".join(map(str, range(runs)[worker::workers])) for worker in range(workers)]
    commands = [[sys.executable, __file__, "--steps", str(steps), "--bare", share] for share in shares]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for command in commands]
    printed = [process.communicate()[0] for process in processes]
    return sum(float(json.loads(text.splitlines()[-1])) for text in printed)


def bare(seeds: Sequence[int], steps: int) -> float:
    """The seconds in ``Trainer.fit`` of the runs of these seeds, one after the other in this process."""
    import lightning as L

    from scumble.cli import main as scumble

    seconds: list[float] = []
    fit = L.Trainer.fit

    def timed(*arguments: object, **options: object) -> None:
        begun = time.perf_counter()
        fit(*arguments, **options)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - begun)

    L.Trainer.fit = timed  # type: ignore[method-assign, assignment]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate([seeds[0], *seeds]):
            own = [f"steps={steps}", f"seed={seed}", f"run_dir={folder}/{number}", "logger=csv"]
            sys.argv = ["scumble", "train", *COMMON, *own]
            scumble()
    return sum(seconds[1:])


def sweep(folder: Path, runs: int, workers: int, steps: int) -> float:
    """The seconds of the same runs as a sweep, from the command to its end."""
    seeds = ",".join(map(str, range(runs)))
    launcher = ["hydra/launcher=workstation", f"hydra.launcher.n_jobs={workers}", f"hydra.sweep.dir={folder}/sweep"]
    command = [sys.executable, "-c", "from scumble.cli import main; main()", "train", "-m"]
    begun = time.perf_counter()
    subprocess.run(
        [*command, *COMMON, f"steps={steps}", f"seed={seeds}", *launcher],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"WANDB_MODE": "offline"},
    )
    return time.perf_counter() - begun


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--bare", metavar="SEEDS", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
