"""Checkpoints: what they hold, how they are written, found and read.

A checkpoint is Lightning's (weights, optimizers, step, callbacks) plus an entry ``scumble`` with the resolved config as
plain data. Frozen encoders are not in it. Everything random is a function of the config's seed and of the step, so
there is no generator state to keep. Pickles are never trusted: everything loads with ``weights_only=True``.
"""

import logging
import pickle
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from lightning.fabric.plugins import TorchCheckpointIO
from torch import nn

from scumble.config import instantiate_untrusted
from scumble.files import atomic_write
from scumble.networks.painter import Painter

FOLDER = "checkpoints"
# What stands for a model where the painter that ships with scumble is meant; ./shipped is a run folder of that name.
SHIPPED = "shipped"
KEY = "scumble"
_NAME = re.compile(r"step=(\d+)\.ckpt")

log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, unsafe, or of another kind than was asked for."""


class Checkpoint(NamedTuple):
    """A checkpoint that was read and found good."""

    path: Path
    content: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config of the run, as plain data from a file: not to be trusted."""
        config: dict[str, Any] = self.content[KEY]["config"]
        return config


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes and renames.

    Lightning's goes through the temporary folder, and is torn when that is on another disk than the run. ``start`` is
    the checkpoint that the run starts from: it is read and checked already, and not read again.
    """

    def __init__(self, start: Checkpoint | None = None):
        self._start = start

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic_write(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        start, self._start = self._start, None  # kept no longer than needed
        return start.content if start is not None and start.path == Path(path) else read_checkpoint(path)


def checkpoint_path(run_dir: str | Path, step: int) -> Path:
    """Where the checkpoint of a run after ``step`` steps is."""
    return Path(run_dir) / FOLDER / f"step={step:08d}.ckpt"


def list_checkpoints(run_dir: str | Path) -> dict[int, Path]:
    """The checkpoints of a run by step, the newest first; temporary files of a killed process are not among them."""
    files = (Path(run_dir) / FOLDER).glob("*.ckpt")
    steps = {int(match[1]): path for path in files if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(steps.items(), reverse=True))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU, after its checksums.

    Raises: CheckpointError if the file is missing, torn, changed by a bit, no checkpoint, or a pickle that would run
    code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}; give a run folder or a .ckpt file")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.save writes a zip file with a CRC-32 per tensor; torch.load skips them
        if damaged:
            raise CheckpointError(f"{path}: damaged, the checksum of {damaged} is wrong; use an older checkpoint")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, it holds Python objects that could run code when they are loaded. A checkpoint of "
            f"scumble holds tensors and plain data only. ({str(error).splitlines()[0]})"
        ) from error
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, EOFError, KeyError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: torn or no checkpoint ({error}); use an older checkpoint") from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of scumble (it has no entry {KEY!r})")
    try:
        str(checkpoint[KEY]["config"]["task"]["_target_"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of scumble (its entry {KEY!r} has no config)") from error
    return checkpoint


def latest_checkpoint(run_dir: str | Path) -> Checkpoint | None:
    """The newest checkpoint of a run that can be read, or None; damaged ones are passed over with a warning."""
    for path in list_checkpoints(run_dir).values():
        try:
            return Checkpoint(path, read_checkpoint(path))
        except CheckpointError as error:
            log.warning("%s. Using the one before it.", error)
    return None


def find_checkpoint(model: str | Path | Checkpoint) -> Checkpoint:
    """The checkpoint that a user means: a ``.ckpt`` file, the newest readable one of a run folder, or one read before.

    Raises: CheckpointError if there is none, or if it cannot be read.
    """
    if isinstance(model, Checkpoint):
        return model
    model = Path(model)
    if not model.is_dir():
        return Checkpoint(model, read_checkpoint(model))
    found = latest_checkpoint(model)
    if found is None:
        raise CheckpointError(f"{model} has no readable checkpoint in {FOLDER}/; give a run folder or a .ckpt file")
    return found


def load_task(model: str | Path | Checkpoint, trust: Sequence[str] = ()) -> Any:
    """The LightningModule of a run or checkpoint, with its weights, in evaluation mode.

    Raises: CheckpointError, and UntrustedConfigError if its config names classes of unknown packages.
    """
    checkpoint = find_checkpoint(model)
    task = instantiate_untrusted(checkpoint.config["task"], trust)
    load_weights(task, checkpoint.content["state_dict"], checkpoint.path)
    return task.eval()


def load_generator(model: str | Path | Checkpoint, trust: Sequence[str] = ()) -> nn.Module:
    """The generator of a style-transfer run or checkpoint, averaged over training if the run keeps an average.

    The rest of the task (discriminator, perceptual encoder) is not made, so its files are not needed. A YAML file is a
    generator without a run: its config, as in ``conf/generator``, which names its weight files. ``"shipped"`` is the
    painter that comes with scumble.
    Raises: as :func:`load_task`.
    """
    if model == SHIPPED:
        return Painter(weights="shipped").eval().requires_grad_(False)
    if not isinstance(model, Checkpoint) and Path(model).suffix in (".yaml", ".yml"):
        return _generator_of_config(Path(model), trust)
    checkpoint = find_checkpoint(model)
    path, task = checkpoint.path, checkpoint.config["task"]
    weights = generator_weights(checkpoint)
    if "generator" not in task or not weights:
        raise CheckpointError(f"{path}: is of the task {task['_target_']}, which has no generator of stylized images")
    generator: nn.Module = instantiate_untrusted(task["generator"], trust)
    if hasattr(generator, "noise_shape"):
        raise CheckpointError(f"{path}: its generator makes images from noise, and takes no photograph to stylize")
    load_weights(generator, weights, path)
    return generator.eval().requires_grad_(False)


def generator_weights(checkpoint: Checkpoint) -> dict[str, Any]:
    """The weights of a run's generator: their average over training if the run keeps one; empty if it has none."""
    return network_weights(checkpoint, "generator_ema") or network_weights(checkpoint, "generator")


def network_weights(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """The weights of one network of the task, by their names within that network."""
    state: dict[str, Any] = checkpoint.content["state_dict"]
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def _generator_of_config(path: Path, trust: Sequence[str]) -> nn.Module:
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: no config of a generator ({error})") from error
    if not isinstance(config, dict) or "_target_" not in config:
        raise CheckpointError(
            f"{path}: no config of a generator: it must have a key _target_, and what that class takes"
        )
    generator = instantiate_untrusted(config, trust)
    if not isinstance(generator, nn.Module):
        raise CheckpointError(f"{path}: {config['_target_']} is no network; name a generator of stylized images")
    return generator.eval().requires_grad_(False)


def load_weights(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Give a network the weights of the checkpoint at ``path``.

    Raises: CheckpointError if they are not those of such a network.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        _, *reasons = [line.strip() for line in str(error).splitlines()]
        more = f"\n  and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        raise CheckpointError(
            f"{path}: its weights do not fit the networks of its own config:\n  "
            + "\n  ".join(reasons[:3])
            + f"{more}\nit is of another version of scumble; use that version, or train it anew in another run_dir"
        ) from error
