"""Invariants of every run, whatever its config says: exact steps, exact randomness, one config on all ranks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch

from scumble.checkpoint import KEY
from scumble.config import config_hash
from scumble.distributed import gather
from scumble.environment import describe_environment, record_environment
from scumble.seeding import STEP, VALIDATION, mix


class CountSteps(L.Callback):
    """Checks that Lightning's counter is the number of batches; everything that is keyed by steps relies on it."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.expected = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self.expected += 1
        if trainer.global_step != self.expected:
            raise RuntimeError(
                f"{self.expected} batches are done, but the step counter is at {trainer.global_step}. A task calls "
                "finish_step() once at the end of training_step, and steps its optimizers through update()."
            )


class SeedEachStep(L.Callback):
    """Seeds torch's generators from (seed, step, rank) before every step.

    Dropout and noise of step k are then those of step k, however often the run was resumed before it. Several ranks
    also get generators in common, ``common_random``, with the numbers that a single process would draw. Every
    validation batch is seeded by its step and by its number among those of all ranks.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        single, own = mix(self.seed, STEP, trainer.global_step, 0), 0
        if trainer.world_size > 1:
            common = {device.type: torch.Generator(device) for device in (torch.device("cpu"), pl_module.device)}
            for generator in common.values():
                generator.manual_seed(single)
            pl_module.common_random = common  # type: ignore[assignment]
            own = 1 + trainer.global_rank  # no rank's own stream is the one that they have in common
        _seed(mix(self.seed, STEP, trainer.global_step, own), pl_module.device)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        number = batch_idx * trainer.world_size + trainer.global_rank
        _seed(mix(self.seed, VALIDATION, trainer.global_step, number), pl_module.device)


def _seed(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed costs more, it looks for every kind of device
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class RecordConfig(L.Callback):
    """Puts the resolved config into every checkpoint."""

    def __init__(self, config: Mapping[str, Any]):
        self.config = dict(config)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = {
            "format": 1,
            "step": trainer.global_step,
            "seed": self.config.get("seed"),
            "config": self.config,
            "threads": torch.get_num_threads(),  # another number of threads adds in another order
            "torch": str(torch.__version__),
        }


class RecordEnvironment(L.Callback):
    """Writes what a run runs on into its folder, and gives it to the loggers that take it."""

    def __init__(self, run_dir: str | Path):
        self.run_dir = run_dir

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        environment = {"step": trainer.global_step}
        environment |= describe_environment(trainer.strategy.root_device, trainer.world_size)
        record_environment(self.run_dir, environment)
        for logger in trainer.loggers:
            if hasattr(logger, "log_environment"):
                logger.log_environment(environment)


class SameConfigOnAllRanks(L.Callback):
    """Ends the run before it starts if the ranks were started with different configs, or go on from different steps.

    A sweep that samples values, with ranks that are started as processes of their own, would otherwise train other
    hyperparameters on each rank and average their gradients without a word.
    """

    def __init__(self, config: Mapping[str, Any]):
        self.hash = config_hash(config)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        hashes = _of_ranks(int(self.hash, 16), pl_module)
        if len(set(hashes)) > 1:
            listed = ", ".join(f"rank {rank}: {value:012x}" for rank, value in enumerate(hashes))
            raise ValueError(
                f"the ranks have different configs ({listed}); start all of them with the same overrides, run_dir "
                "among them: the default holds the time"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        steps = _of_ranks(trainer.global_step, pl_module)
        if len(set(steps)) > 1:
            listed = ", ".join(f"rank {rank}: {step}" for rank, step in enumerate(steps))
            raise ValueError(
                f"the ranks resume from different steps ({listed}): they find different checkpoints; set run_dir to a "
                "folder that all machines share"
            )


def _of_ranks(value: int, pl_module: L.LightningModule) -> list[int]:
    found: list[int] = gather(torch.tensor(value, dtype=torch.int64, device=pl_module.device)).tolist()
    return found
