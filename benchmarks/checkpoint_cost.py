"""What checkpoints cost: the time of writing one, beside the training between two of them at the default interval.

    python benchmarks/checkpoint_cost.py                       # the default run and cyclegan
    python benchmarks/checkpoint_cost.py experiment=dcgan      # other overrides of scumble train

A checkpoint is written every few steps, as a run writes it, flushed to the disk; the medians of a step and of a
checkpoint give its share of the time. Validation is left out, so a run's share is lower.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir

from scumble.callbacks import Checkpoints
from scumble.callbacks.contracts import CountSteps, RecordConfig, SeedEachStep
from scumble.checkpoint import AtomicCheckpointIO, list_checkpoints
from scumble.config import CONFIG_FOLDER, instantiate, to_plain

LIMIT = 0.02


class TimedCheckpoints(Checkpoints):
    """Knows how long each checkpoint has taken."""

    def __init__(self, run_dir: Path, every_n_steps: int):
        super().__init__(run_dir, every_n_steps)
        self.seconds: list[float] = []

    def write(self, trainer: L.Trainer) -> None:
        start = time.perf_counter()
        super().write(trainer)
        self.seconds.append(time.perf_counter() - start)


class TimedSteps(L.Callback):
    """Knows how long each step has taken, without the callbacks at its end; listed before all others."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="measure this configuration instead")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=4, help="steps between two checkpoints that are measured")
    options = parser.parse_args()
    configurations = [options.overrides] if options.overrides else [[], ["experiment=cyclegan"]]
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    print("| run | checkpoint | step | writing | every | share of the time |\n| --- | --- | --- | --- | --- | --- |")
    shares = [measure(overrides, options.steps, options.every) for overrides in configurations]
    if max(shares) > LIMIT:
        raise SystemExit(f"more than {LIMIT:.0%}")


def measure(overrides: list[str], steps: int, every: int) -> float:
    """Train, print a line of the table, and return the share of the time that checkpoints take."""
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = to_plain(compose("train", ["run_dir=.", "name=cost", *overrides]))
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    with tempfile.TemporaryDirectory(dir=".") as folder:
        checkpoints, timed = TimedCheckpoints(Path(folder), every), TimedSteps()
        trainer = L.Trainer(
            max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0,
            callbacks=[timed, CountSteps(), SeedEachStep(config["seed"]), RecordConfig(config), checkpoints],
            plugins=[AtomicCheckpointIO()], default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(instantiate(config["task"]), datamodule=instantiate(config["data"]))
        size = next(iter(list_checkpoints(folder).values())).stat().st_size
    step, writing, interval = median(timed.seconds[5:]), median(checkpoints.seconds), config["checkpoint_every_n_steps"]
    share = writing / (interval * step + writing)
    print(
        f"| {' '.join(overrides) or 'default'} | {size / 1e6:.1f} MB | {step * 1e3:.0f} ms | {writing * 1e3:.0f} ms | "
        f"{interval} steps | {share:.2%} |",
        flush=True,
    )
    return share


if __name__ == "__main__":
    main()
