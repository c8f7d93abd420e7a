"""Training: the only place where a composed config becomes objects."""

import logging
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict

from scumble.callbacks.contracts import (
    CountSteps,
    RecordConfig,
    RecordEnvironment,
    SameConfigOnAllRanks,
    SeedEachStep,
)
from scumble.callbacks.first_look import FirstLook
from scumble.callbacks.monitors import Monitors
from scumble.callbacks.preemption import Preempted
from scumble.checkpoint import (
    AtomicCheckpointIO,
    Checkpoint,
    CheckpointError,
    latest_checkpoint,
    list_checkpoints,
    load_weights,
)
from scumble.config import check_trust, instantiate, to_plain
from scumble.files import atomic_write
from scumble.init_from import start_from
from scumble.ledger import STATUS_FILE, State, is_done, is_trained_elsewhere, other_job, record, state_of
from scumble.loggers.csv_file import read_metrics
from scumble.metrics.images import HasResults
from scumble.resume import check_resumable, copies_of
from scumble.slurm import Queue, is_started_again

CONFIG_NAME = "config.yaml"
# With several devices Lightning starts the other ranks as `python ARGV[0] OVERRIDES`.
RANK_SCRIPT = Path(__file__).parent / "ranks" / "train.py"

log = logging.getLogger(__name__)


def train(config: DictConfig) -> dict[str, float]:
    """Train the run that a composed config describes, and return its last metrics.

    Everything of the run goes to ``config.run_dir``. With ``config.resume``, or when a scheduler starts the same run
    again, it goes on from the newest readable checkpoint there, and starts from nothing if there is none; a run that is
    done is left as it is, and with ``resume=failed`` any run that did not fail.
    """
    plain = resolve(config)
    run_dir, queue = Path(plain["run_dir"]), Queue()
    check(plain)
    if plain["resume"]:
        check_trust(plain, plain["trust"])  # part of the overrides was read from the run folder
    if plain["resume"] == "failed" and not (_failed(run_dir, queue) or is_started_again()):
        log.info("Left as it is: %s", run_dir)
        return {}
    plain["resume"] = plain["resume"] or is_started_again()
    if plain["resume"] and (done := is_done(run_dir, plain, _newest_step(run_dir), queue)):
        log.info("%s already: %s", done.state.capitalize(), run_dir)
        return done.metrics
    _refuse_a_second_process(run_dir, queue)
    if job := other_job(run_dir, queue):
        raise ValueError(f"{run_dir} is trained by job {job} of SLURM; wait until it has ended, or scancel {job} first")
    checkpoint = prepare_run_folder(run_dir, plain, copies_of(to_plain(config, resolve=False)))
    _record(run_dir, State.RUNNING, plain, _newest_step(run_dir))
    try:
        metrics, stopped = _fit(plain, run_dir, checkpoint)
    except Preempted as preempted:
        _record(run_dir, State.PREEMPTED, plain, _newest_step(run_dir))
        log.info("%s: the checkpoint is written", preempted)
        preempted.give_way()
    except KeyboardInterrupt:
        _record(run_dir, State.PREEMPTED, plain, _newest_step(run_dir))
        raise
    except Exception:
        _record(run_dir, State.FAILED, plain, _newest_step(run_dir))
        raise
    _record(run_dir, State.STOPPED if stopped else State.DONE, plain, _newest_step(run_dir), metrics, stopped)
    return metrics


def check(config: dict[str, Any]) -> None:
    """Raise ValueError for what no run can be trained with, whatever its task."""
    if config["resume"] not in (True, False, "failed"):
        raise ValueError(f"resume is {config['resume']!r}; accepted: true, false, failed")
    if str(config["trainer"].get("precision", "32-true")).startswith("16"):
        raise ValueError(
            f"trainer.precision={config['trainer']['precision']} shares one loss scale among all optimizers, "
            "which breaks alternating optimization; accepted: 32-true, bf16-mixed"
        )


def _fit(plain: dict[str, Any], run_dir: Path, checkpoint: Checkpoint | None) -> tuple[dict[str, float], str]:
    """Make the objects of a config and train from the checkpoint, if there is one.

    Returns the last metrics, and what the monitor said that ended the run, empty if none did.
    """
    torch.set_num_threads(plain["threads"])
    L.seed_everything(plain["seed"], workers=False, verbose=False)  # the initial weights; steps are seeded on their own
    task = instantiate(plain["task"])
    start_weights = None
    if checkpoint:  # Lightning does it too, after the loggers have dropped what is past the checkpoint
        load_weights(task, checkpoint.content["state_dict"], checkpoint.path)
    else:
        start_weights = start_from(task, plain["init_from"])
    data = instantiate(plain["data"])
    loggers = _chosen(plain["logger"])
    callbacks = [
        CountSteps(),
        SeedEachStep(plain["seed"]),
        SameConfigOnAllRanks(plain),
        RecordConfig(plain),
        RecordEnvironment(run_dir),
        *_chosen(plain["callbacks"]),
        *([FirstLook()] if start_weights else ()),
    ]
    trainer: L.Trainer = instantiate(plain["trainer"] | {"_partial_": True})(
        max_steps=plain["steps"],
        max_epochs=-1,  # a step is the only measure of length; the epoch follows from it
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,  # the pairs of a rank are a function of the rank
        default_root_dir=run_dir,
        logger=loggers,
        callbacks=callbacks,
        plugins=_plugins(checkpoint),
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_checkpointing=False,  # the callback of our own config does it
    )
    start = checkpoint.content["global_step"] if checkpoint else 0
    for logger in loggers:
        if hasattr(logger, "start_at"):
            logger.start_at(start)
        logger.log_hyperparams(plain)
    if trainer.is_global_zero:
        log.info("Run folder: %s%s", run_dir, f", resumed at step {start}" if start else "")
        if start_weights:
            log.info("Starts from %s", start_weights)
    sys.argv[0] = str(RANK_SCRIPT)
    try:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint.path if checkpoint else None, weights_only=True)
    except SystemExit:
        if trainer.interrupted:  # Lightning exits with 1 after Ctrl-C
            raise KeyboardInterrupt from None
        raise
    if trainer.is_global_zero:
        tell_what_next(run_dir, plain, task)
    stopped = next((each.stopped for each in callbacks if isinstance(each, Monitors)), "")
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, stopped


def resolve(config: DictConfig) -> dict[str, Any]:
    """The config as plain data, with the folder that Hydra chose for this job as ``run_dir``.

    The runs of a sweep are one group in Weights & Biases, by the name of the sweep's folder, unless another is given.
    """
    hydra = HydraConfig.get()
    with open_dict(config):
        config.run_dir = str(Path(hydra.runtime.output_dir).absolute())
        given = any(word.startswith("logger.wandb.group=") for word in hydra.overrides.task)
        if hydra.mode == RunMode.MULTIRUN and "wandb" in (config.logger or {}) and not given:
            config.logger.wandb.group = Path(hydra.sweep.dir).name
    return to_plain(config)


def planned(config: DictConfig, run_dir: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config of a run that is not there yet as plain data, and that of its launcher, of what Hydra composed."""
    HydraConfig.instance().set_config(config)
    launcher = to_plain(config.hydra.launcher)
    with open_dict(config):
        del config["hydra"]
        config.run_dir = run_dir
    return to_plain(config), launcher


def prepare_run_folder(run_dir: Path, config: dict[str, Any], copies: dict[str, str]) -> Checkpoint | None:
    """Write the resolved config into the run folder; return the checkpoint to resume from, if there is one.

    Raises: FileExistsError if the folder has a run already and ``resume`` is not set; CheckpointError if that run is
    of another task; ResumeError if its config has changed in a way that rules out a resume.
    """
    checkpoint = latest_checkpoint(run_dir)
    if checkpoint is not None and not config["resume"]:
        raise FileExistsError(
            f"{run_dir} has a run already; set resume=true to resume it, or another run_dir to start a new one"
        )
    if checkpoint is not None:
        saved = checkpoint.config["task"]["_target_"]
        if saved != config["task"]["_target_"]:
            raise CheckpointError(
                f"{checkpoint.path} is of the task {saved}, this config of {config['task']['_target_']}; give the same "
                "overrides as before, or another run_dir"
            )
        for change in check_resumable(checkpoint.config, config, copies):
            log.info("Changed after step %d: %s", checkpoint.content["global_step"], change)
    _write_config(run_dir, config)
    return checkpoint


def tell_what_next(run_dir: Path, config: dict[str, Any], task: L.LightningModule) -> None:
    """Print where the run is and what to do with it."""
    folder = _short(run_dir)
    _tell_progress(run_dir)
    grids = sorted((run_dir / "grids").glob("*.png"))
    print(f"\nThe run is in {folder}")
    if grids:
        print(f"  look:     {_short(grids[-1])}")
    generator = getattr(task, "generator", None)
    if generator is not None and not hasattr(generator, "noise_shape"):
        print(f"  stylize:  scumble stylize PHOTO --style PAINTING --model {folder} --output stylized/")
    if hasattr(task, "sample"):
        print(f"  generate: scumble generate --model {folder} --output generated/")
    if isinstance(task, HasResults):
        print(f"  measure:  scumble evaluate run_dir={folder}")
    print(f"  resume:   scumble train run_dir={folder} resume=true steps={2 * config['steps']}")
    if sweep := _sweep(config.get("loss_weights") or {}):
        print(f"  sweep:    scumble train -m {_experiment()}{sweep}")
    if any((run_dir / "wandb").glob("offline-run-*")):
        print(f"  upload:   wandb sync {folder}/wandb/offline-run-*")


def _tell_progress(run_dir: Path) -> None:
    """Print the distances before and after a run that started from trained weights, if its record has them."""
    rows = read_metrics(run_dir)
    before, after = rows.get(0, {}), rows[max(rows)] if rows else {}
    names = [name for name in before if name.endswith("_distance") and name in after]
    if len(rows) > 1 and names:
        print("\nHeld-out pairs, before and after (less is better):")
        for name in names:
            print(f"  {name.removeprefix('val/').replace('_', ' '):<17} {before[name]:.3f} -> {after[name]:.3f}")


def _sweep(loss_weights: dict[str, Any]) -> str | None:
    """A sweep over the weight of one term of this run: the style's if it has one."""
    numbers = {name: weight for name, weight in loss_weights.items() if isinstance(weight, int | float) and weight}
    name = "style" if "style" in numbers else next(iter(numbers), None)
    return name and f"loss_weights.{name}=" + ",".join(f"{factor * numbers[name]:g}" for factor in (0.5, 1, 2))


def _experiment() -> str:
    """The experiment of this run as an override, if it has one."""
    experiment = HydraConfig.get().runtime.choices.get("experiment")
    return f"experiment={experiment} " if experiment else ""


_record = rank_zero_only(record)


@rank_zero_only
def _refuse_a_second_process(run_dir: Path, queue: Queue) -> None:
    if other := is_trained_elsewhere(run_dir, queue):
        raise ValueError(
            f"{run_dir} is being trained by process {other.process}; wait for it, or end it. (If that process is "
            f"another program, which has got the number of a run that was killed, remove {run_dir / STATUS_FILE}.)"
        )


def _failed(run_dir: Path, queue: Queue) -> bool:
    """Whether a run failed; further ranks also join one that the first of them has just restarted."""
    going_on = (State.FAILED,) if getattr(rank_zero_only, "rank", 0) == 0 else (State.FAILED, State.RUNNING)
    return state_of(run_dir, queue) in going_on


def _newest_step(run_dir: Path) -> int:
    """The step of the newest checkpoint of a run, 0 if there is none."""
    return next(iter(list_checkpoints(run_dir)), 0)


@rank_zero_only
def _write_config(run_dir: Path, config: dict[str, Any]) -> None:
    with atomic_write(run_dir / CONFIG_NAME) as file:
        file.write(OmegaConf.to_yaml(OmegaConf.create(config)).encode())


def _chosen(configs: dict[str, Any] | None) -> list[Any]:
    """The objects of a group of configs by name; a name that is set to null is left out."""
    return [made for made in instantiate(configs or {}).values() if made is not None]


def _plugins(start: Checkpoint | None) -> list[Any]:
    plugins: list[Any] = [AtomicCheckpointIO(start)]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # Lightning's saves in the middle of a step
    return plugins


def _short(path: Path) -> str:
    """The path from where the user stands, if that is shorter."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
