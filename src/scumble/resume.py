"""What may change when a run is resumed: the differences of two resolved configs, and which of them are refused."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from scumble.moved import with_current_names

ABSENT = "(absent)"
_INTERPOLATION = re.compile(r"\$\{(?:oc\.select:)?(\w+(?:\.\w+)*)(?:,\w+)?\}")
NOT_OF_THE_RUN = ("run_dir", "name", "resume", "trust")

# Data settings that do not affect the order of the training images. Where the images are may change as well: whether
# they are the same ones is checked by what they are, when they have been found (EndlessData.load_state_dict).
FREE_DATA = ("batch_size", "num_workers", "cache_gib", "strict", "download", "root", "content", "style", "image")

# Settings of the data that runs of earlier versions do not record, with the value that stands for what they did.
IMPLIED = {"data.style_colours": 0.0, "data.trim": 0.0}


class Change(NamedTuple):
    """A value of a resolved config that differs from the one before."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"


class ResumeError(ValueError):
    """A config with which a run cannot be resumed."""


def check_resumable(
    before: Mapping[str, Any], after: Mapping[str, Any], copies: Mapping[str, str] | None = None
) -> list[Change]:
    """The changes between the config of a run, ``before``, and the config that resumes it, ``after``.

    Steps, loss weights, learning rates, loggers, callbacks, devices and the batch size may change: the walk through the
    images continues at the next one, whatever the size of the batches was. What decides the shape of what is in the
    checkpoint, or in which order images come and which noise belongs to which step, may not. A change that only
    repeats another one by interpolation is left out; ``copies`` says where keys come from (:func:`copies_of`).
    Raises: ResumeError that lists what may not, with the reasons.
    """
    found = changes(before, after)
    refused = [change for change in found if _reason_against(change, before, after)]
    if refused:
        raise ResumeError(
            "the run cannot be resumed with these changes:\n"
            + "".join(
                f"  {change}\n    {_reason_against(change, before, after)}\n" for change in _once(refused, copies or {})
            )
            + "leave these as they were, or start a new run in another run_dir"
        )
    return _once(found, copies or {})


def copies_of(unresolved: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a config, not resolved, that are nothing but an interpolation of another key, with that key."""
    matches = {key: _INTERPOLATION.fullmatch(str(value)) for key, value in leaves(unresolved)}
    return {key: match[1] for key, match in matches.items() if match}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs between two resolved configs of one run, but for the folder that it is in and for ``resume``."""
    old, new = dict(leaves(in_any_folder(before))), dict(leaves(in_any_folder(after)))
    keys = [*new, *(key for key in old if key not in new)]
    pairs = [Change(key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys]
    return [change for change in pairs if change.before != change.after]


def in_any_folder(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config without where its run is and how it was asked for: what decides the numbers that it makes."""
    run_dir = str(config.get("run_dir") or "").rstrip("/")

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: moved(child) for key, child in value.items()}
        if isinstance(value, list):
            return [moved(child) for child in value]
        if isinstance(value, str) and run_dir and (value == run_dir or value.startswith(f"{run_dir}/")):
            return "RUN_DIR" + value.removeprefix(run_dir)
        return value

    current = with_current_names(config)
    return {key: moved(value) for key, value in current.items() if key not in NOT_OF_THE_RUN}


def leaves(config: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config of plain data that are no configs themselves, by their dotted keys."""
    for name, value in config.items():
        where = f"{key}.{name}".lstrip(".")
        if isinstance(value, Mapping) and value:
            yield from leaves(value, where)
        else:
            yield where, value


def _reason_against(change: Change, before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Why a run cannot be resumed with a change, or None."""
    group, *rest = change.key.split(".")
    if change.key == "seed":
        return "the pairs and the noise of every step are functions of the seed"
    if change.before == ABSENT and change.key in IMPLIED and change.after == IMPLIED[change.key]:
        return None
    name = rest[0] if rest else ""
    if group == "data" and name not in FREE_DATA and not _is_about_validation(name):
        return "which images come when depends on it"
    owners = {target for config in (before, after) for target in _owners(config, change.key)}
    if any(owner.startswith("scumble.data.damage.") for owner in owners):
        return "the damage of every step depends on it"
    if any(owner.startswith("scumble.networks.") for owner in owners):
        return "the weights in the checkpoint are those of the networks as they were"
    if change.key == "task.ema_decay" and 0 in (change.before, change.after):
        return "the checkpoint has an average of the generator only where there was one"
    if change.key == "task.pairs":
        return "the checkpoint has as many pictures as there were pairs"
    if "optimizers" in rest and rest[-1] == "_target_":
        return "the checkpoint has the state of the optimizer as it was"
    return None


def _is_about_validation(key: str) -> bool:
    return key.startswith("validation_") and key != "validation_fraction"


def _owners(config: Any, key: str) -> Iterator[str]:
    """The targets of the configs around a key, but for the frozen encoders, which are not in a checkpoint."""
    for name in key.split("."):
        if not isinstance(config, Mapping) or name in ("perceptual_encoder", "teacher", "metrics"):
            return
        if "_target_" in config:
            yield str(config["_target_"])
        config = config.get(name)


def _once(found: list[Change], copies: Mapping[str, str]) -> list[Change]:
    """The changes without those that repeat another one of them by interpolation."""
    by_key = {change.key: change for change in found}

    def repeats(change: Change) -> bool:
        if ABSENT in change and any(key.startswith(f"{change.key}.") for key in by_key):
            return True  # a null that became a group, whose values are named
        originals = (by_key.get(key) for key in _sources(change.key, copies))
        return any(original is not None and original[1:] == change[1:] for original in originals)

    return [change for change in found if not repeats(change)]


def _sources(key: str, copies: Mapping[str, str]) -> Iterator[str]:
    """The key that a key is a copy of, or within a copy of, then the one that this is a copy of, and so on."""
    words = key.split(".")
    for count in range(len(words), 0, -1):
        source = copies.get(".".join(words[:count]))
        if source is not None:
            original = ".".join([source, *words[count:]])
            yield original
            yield from _sources(original, copies)
            return
