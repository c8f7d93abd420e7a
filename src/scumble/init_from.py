"""``init_from``: trained weights that a new run starts from."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from scumble.checkpoint import SHIPPED, CheckpointError, find_checkpoint, generator_weights, network_weights
from scumble.networks.weights import load_state, load_weights
from scumble.tasks.manual import ManualTask


def start_from(task: ManualTask, source: str | None) -> str | None:
    """Give a new task trained weights, and return what they are in words, None if it starts from nothing.

    ``source`` is ``"shipped"``, the weights that ship for the task's generator, if there are any and the config names
    no others; a run folder or a checkpoint file, whose averaged generator the task starts from, and whose
    discriminator too if it is of the same shape; or None.
    Raises: ValueError if the weights do not fit the task's generator; CheckpointError if there are none.
    """
    if source is None:
        return None
    generator = getattr(task, "generator", None)
    if source == SHIPPED:
        return _start_from_shipped(task, generator)
    checkpoint = find_checkpoint(source)
    weights = generator_weights(checkpoint)
    if generator is None or not weights:
        raise CheckpointError(
            f"init_from={source}: {'its' if generator else 'this'} task has no generator to start from"
        )
    _load(generator, weights, f"init_from={source}")
    parts = ["generator"]
    discriminator, judged = getattr(task, "discriminator", None), network_weights(checkpoint, "discriminator")
    if discriminator is not None and _shapes(discriminator.state_dict()) == _shapes(judged):
        discriminator.load_state_dict(judged)
        parts.append("discriminator")
    task.remember_start()
    return f"{' and '.join(parts)} of {checkpoint.path}"


def _start_from_shipped(task: ManualTask, generator: nn.Module | None) -> str | None:
    path: Path | None = getattr(generator, "shipped_weights", None)
    if generator is None or path is None or getattr(generator, "has_given_weights", False):
        return None
    _load(generator, load_weights(path, "init_from"), f"init_from={SHIPPED}")
    task.remember_start()
    return "the shipped painter"


def _load(generator: nn.Module, state: dict[str, Tensor], source: str) -> None:
    try:
        load_state(generator, state, source)
    except ValueError as error:
        raise ValueError(
            f"{error}; give the generator the settings that it was trained with, or set init_from=null to start from "
            "nothing"
        ) from error


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}
