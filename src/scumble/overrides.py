"""Overrides of the command line, in Hydra's grammar: parsed, quoted, expanded to the runs of a grid, and saved ones."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from scumble.config import CONFIG_FOLDER
from scumble.workers import runs_at_a_time

MULTIRUN = ("-m", "--multirun")

# Where the images are: each the config of a set of images, or one or several folders in its place.
IMAGE_SETS = ("data.content", "data.style", "data.image")

OmegaConf.register_new_resolver("runs_at_a_time", runs_at_a_time, replace=True)


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides, taken apart. Raises: ValueError for one that is none."""
    try:
        return list(OverridesParser.create().parse_overrides(list(overrides)))
    except OverrideParseException as error:
        raise ValueError(str(error)) from error


def quoted(value: object) -> str:
    """A value for an override that Hydra takes as it is, whatever characters it has."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def with_saved_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments of a resumed run, and those it was started with, so that they need not be given again.

    ``scumble train run_dir=RUN resume=true steps=4000`` means the run in RUN as it was, but with 4000 steps. The folder
    may be a stranger's: it decides neither what Hydra itself loads (``hydra...``) nor whom to trust, and the config
    that comes out is checked before anything is made of it.
    """
    try:
        given = parse([word for word in with_quoted_folder(arguments) if not word.startswith("-")])
    except ValueError:
        return list(arguments)  # Hydra says what is wrong
    values = {override.key_or_group: str(override.value()) for override in given}
    saved = Path(values.get("run_dir", "")) / ".hydra" / "overrides.yaml"
    if values.get("resume", "").lower() not in ("true", "failed") or not saved.is_file():
        return list(arguments)
    before = yaml.safe_load(saved.read_text()) or []
    decided = {_key(argument) for argument in arguments} | {"trust"}
    kept = [word for word in before if _key(word) not in decided and not _key(word).startswith(("hydra", "-"))]
    # After the given ones, since Hydra's parser wants flags before all overrides.
    return [*arguments, *kept, *saved_generator(saved.parent, {_key(word) for word in (*arguments, *kept)})]


def saved_generator(folder: Path, decided: set[str]) -> list[str]:
    """The generator that a run was started with, where no override names it: the default may have changed since."""
    try:
        choices = yaml.safe_load((folder / "hydra.yaml").read_text())["hydra"]["runtime"]["choices"]
        name = str(choices["generator"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []
    known = {path.stem for path in (CONFIG_FOLDER / "generator").glob("*.yaml")}
    return [f"generator={name}"] if name in known and "generator" not in decided else []


def with_quoted_folder(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``run_dir`` in quotes: the folder of a run of a sweep has characters of Hydra's grammar."""
    found = [(word, re.fullmatch(r"(\+{0,2}run_dir=)([^'\"].*)", word, re.DOTALL)) for word in arguments]
    return [match[1] + quoted(match[2]) if match else word for word, match in found]


def with_lists_of_folders(arguments: Sequence[str]) -> list[str]:
    """The arguments, where ``data.style=[A,B]`` is two words, so that a list of folders replaces any set of images.

    Hydra puts a string in the place of a set's config, but merges a list with it, which fails: the string comes first.
    The second word has a ``++``, since Hydra's sweeper keeps one word of each spelling.
    """
    try:
        overrides = parse([word for word in arguments if not word.startswith("-")])
    except ValueError:
        return list(arguments)  # Hydra says what is wrong
    lists = {o.input_line: [f"{o.key_or_group}=folders", f"++{o.input_line}"] for o in overrides if _lists_folders(o)}
    return [part for word in arguments for part in lists.get(word, [word])]


def _lists_folders(override: Override) -> bool:
    if override.key_or_group not in IMAGE_SETS or override.get_key_element() != override.key_or_group:
        return False
    value = override.value()
    return any(isinstance(choice, list) for choice in (value.list if isinstance(value, ChoiceSweep) else [value]))


def naming_of_sweep(arguments: Sequence[str]) -> list[str]:
    """An override for Hydra, so that the runs of a sweep are named by what changes between them alone."""
    if not set(MULTIRUN) & set(arguments):
        return []
    try:
        overrides = parse([word for word in arguments if not word.startswith("-")])
    except ValueError:
        return []  # Hydra says what is wrong
    changed = {override.key_or_group for override in overrides if override.is_sweep_override()}
    same = sorted({override.key_or_group for override in overrides} - changed)
    return [f"hydra.job.config.override_dirname.exclude_keys=[{','.join(map(quoted, same))}]"]


def runs_of_grid(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each run of a grid, without ``resume``; none if a value is drawn by a sampler.

    Raises: ValueError for words that are no overrides.
    """
    choices = []
    for override in parse(overrides):
        key = override.get_key_element()
        if override.is_sweep_override() and not override.is_discrete_sweep():
            return []
        values = (
            list(override.sweep_string_iterator())
            if override.is_sweep_override()
            else [override.get_value_element_as_str()]
        )
        if key != "resume":
            choices.append([f"{key}={value}" for value in values])
    return [list(words) for words in itertools.product(*choices)]


def keys_of_sweep(overrides: Sequence[str]) -> list[str]:
    """The keys and groups to which the overrides of a sweep give several values."""
    return [override.key_or_group for override in parse(overrides) if override.is_sweep_override()]


def what_changed(words: Sequence[str], sweep: Sequence[Override]) -> str:
    """What is different in one run of a sweep, by the overrides of both: the name of its folder."""
    swept = {_key(override.get_key_element()) for override in sweep if override.is_sweep_override()}
    return ",".join(sorted(word for word in words if _key(word) in swept))


def compose_run(words: Sequence[str]) -> DictConfig:
    """The config of one run by its overrides, with Hydra's own part.

    Raises: HydraException or OmegaConfBaseException if there is no such config.
    """
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return hydra.compose("train", list(words), return_hydra_config=True)


def first_value(override: Override) -> str:
    """The override, with one value if it sweeps a value; the choices of a group differ in their keys."""
    if override.is_discrete_sweep() and not (CONFIG_FOLDER / override.key_or_group).is_dir():
        return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
    return str(override.input_line)
