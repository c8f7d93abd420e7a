"""Kill random configurations with SIGKILL at random moments, resume them, and compare with runs that never were killed.

    python benchmarks/hundred_kills.py --output FOLDER                # until 100 kills have been survived
    python benchmarks/hundred_kills.py --output FOLDER --kills 200    # and on, from where it was

Each configuration is an experiment of the catalogue, in turn, with options that are drawn: accumulation, averages,
penalties, schedules, workers, precision, two processes. It is trained without a kill, then again with kills, as
``scumble check-resume`` does it; all bits of weights, optimizers and metrics must agree at the end.

A start of Python with torch costs more than a tiny run. So the runs are forked from a process that has imported
everything and made nothing: no thread, no tensor. The kill is as real as any: the process has no chance to clean up.

FOLDER/kills.jsonl has a line for each configuration; the script may be stopped and started again at any time.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from scumble.check_resume import check_resume
from scumble.config import CONFIG_FOLDER

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["scumble.run", "scumble.hydra_app", "scumble.callbacks", "scumble.tasks.style_transfer"])

# What these ask of their user is replaced by what ships.
GIVEN = {
    "distill": ("perceptual_encoder=random", "data=sample"),
    "real_paintings": ("perceptual_encoder=distilled", "data=sample"),
}
# Sizes, where a config has them.
TINY = {
    "generator.width": 8,
    "generator.residual_blocks": 1,
    "discriminator.width": 8,
    "discriminator.layers": 2,
    "data.validation_size": 32,
    "data.validation_pairs": 3,
    "data.validation_images": 3,
}
# What is drawn, where a config has it; nothing is listed more often to be drawn more often.
CHOICES: dict[str, tuple[Any, ...]] = {
    "task.ema_decay": (0.0, 0.9),
    "task.accumulate": (1, 2, 3),
    "task.discriminator_steps": (1, 1, 2),
    "task.penalty_weights.r1": (0.0, 0.0, 1.0),
    "task.penalty_weights.r2": (0.0, 0.0, 1.0),
    "task.penalty_weights.gradient_penalty": (0.0, 0.0, 1.0),
    "task.penalty_interval": (1, 2),
    "task.pool_size": (3, 50),
    "task.gradient_clip_norm": (1.0, 10.0),
    "task.gradient_shares_interval": (0, 3),
    "optimizer.lr_schedule.warmup": (0, 5),
    "data.num_workers": (0, 0, 1, 2),
    "trainer.precision": ("32-true", "32-true", "bf16-mixed"),
    "threads": (1, 2),
    "val_every_n_steps": (3, 4, 7),
    "checkpoint_every_n_steps": (1, 2, 3, 4),  # fewer than the steps between two kills, which are about 5
}
# The weight of a term may change with the step.
RISING = "{{_target_: scumble.schedules.WarmUp, value: {weight}, steps: 10}}"


class Fork:
    """``scumble ARGUMENTS`` in a fork of a process that has imported everything, as the first of its own group."""

    def __init__(self, arguments: Sequence[str], output: Path):
        self.process = FORKS.Process(target=_run, args=(list(arguments), output))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> None:
        self.process.join()


def _run(arguments: list[str], output: Path) -> None:
    os.setsid()
    with output.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    from scumble.cli import main

    sys.argv = ["scumble", *arguments]
    main()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of kills.jsonl")
    parser.add_argument("--kills", type=int, default=100, help="stop when so many were survived (default: %(default)s)")
    parser.add_argument("--each", type=int, default=5, help="kills of a configuration (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="of each run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the configurations and the moments")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.output / "kills.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()] if table.is_file() else []
    os.environ |= {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    for number, overrides in enumerate(configurations(options.seed)):
        if sum(len(row["killed_at"]) for row in rows) >= options.kills:
            break
        if number < len(rows):
            continue
        rows.append(survive(number, overrides, options))
        with table.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    summarise(rows)
    if any(row["result"] != "identical" for row in rows):
        sys.exit(1)


def survive(number: int, overrides: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Prove one configuration; returns its line of the table."""
    print(f"\n{number}: scumble check-resume {' '.join(overrides)}", flush=True)
    folder, start = Path(tempfile.mkdtemp(prefix="kills-", dir=options.output)), time.monotonic()
    killed_at: list[int] = []
    try:
        killed_at, difference = check_resume(
            overrides, folder, options.steps, options.each, seed=options.seed + number, start=Fork
        )
        result = "identical" if difference is None else f"NOT identical: {difference}"
    except ValueError as error:
        result = f"failed: {error}"
    print(f"{number}: {result}", flush=True)
    if result == "identical":
        shutil.rmtree(folder)
    return {
        "number": number,
        "overrides": overrides,
        "killed_at": killed_at,
        "result": result,
        "seconds": round(time.monotonic() - start),
    }


def configurations(seed: int) -> Iterator[list[str]]:
    """Endless overrides: every experiment in turn, the default run among them, with options that are drawn."""
    experiments = ["", *sorted(path.stem for path in (CONFIG_FOLDER / "experiment").glob("*.yaml"))]
    number = 0
    while True:
        order = random.Random(seed + number).sample(experiments, len(experiments))
        for experiment in order:
            yield drawn(experiment, random.Random(1000 * seed + number))
            number += 1


def drawn(experiment: str, draw: random.Random) -> list[str]:
    """The overrides of an experiment that make it tiny, and those that are drawn."""
    chosen = ["debug=tiny", *([f"experiment={experiment}"] if experiment else []), *GIVEN.get(experiment, ())]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = compose("train", ["run_dir=.", "name=kills", *chosen])
    small = [f"{key}={value}" for key, value in TINY.items() if _is_number(config, key)]
    options = {key: draw.choice(values) for key, values in CHOICES.items()}
    picked = draw.choice(sorted(config.loss_weights))
    changing, together = draw.random() < 0.3, draw.random() < 0.1
    if experiment == "gatys":  # one process, one optimizer step a batch
        options["task.accumulate"], together = 1, False
    kept = [f"{key}={value}" for key, value in options.items() if OmegaConf.select(config, key) is not None]
    if changing and _is_number(config, f"loss_weights.{picked}"):
        kept.append(f"+loss_weights.{picked}={RISING.format(weight=config.loss_weights[picked] or 1.0)}")
    return [*chosen, *small, *kept, *(["trainer=ddp_sim"] if together else [])]


def _is_number(config: DictConfig, key: str) -> bool:
    return isinstance(OmegaConf.select(config, key), int | float)


def summarise(rows: list[dict[str, Any]]) -> None:
    """Print the table, a line for each experiment."""
    print("\n| experiment | configurations | kills | bit-identical |\n| --- | --- | --- | --- |")
    names = [next((word for word in row["overrides"] if word.startswith("experiment=")), "default") for row in rows]
    for name in sorted(set(names)):
        own = [row for row, of in zip(rows, names, strict=True) if of == name]
        same = sum(row["result"] == "identical" for row in own)
        kills = sum(len(row["killed_at"]) for row in own)
        print(f"| {name.removeprefix('experiment=')} | {len(own)} | {kills} | {same} of {len(own)} |")
    identical = sum(len(row["killed_at"]) for row in rows if row["result"] == "identical")
    print(f"\n{sum(len(row['killed_at']) for row in rows)} kills, {identical} in runs that ended bit-identical.")


if __name__ == "__main__":
    main()
