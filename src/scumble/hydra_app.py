"""``scumble train`` as a Hydra application: overrides, multirun, resume from a run folder."""

import itertools
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, TypeVar

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scumble.config import CONFIG_FOLDER
from scumble.files import atomic_write
from scumble.ledger import ERROR_FILE, read_error
from scumble.sweeps.workers import prepare_worker, runs_at_a_time

log = logging.getLogger(__name__)
Input = TypeVar("Input")

MULTIRUN = ("-m", "--multirun")

# Where the images are: each the config of a set of images, or one or several folders in its place.
IMAGE_SETS = ("data.content", "data.style", "data.image")

OmegaConf.register_new_resolver("runs_at_a_time", runs_at_a_time, replace=True)

# These are about the user's input and say how to mend it, so they end in one line; SCUMBLE_TRACEBACK=1 shows more.
USER_ERRORS = (ValueError, OSError, FloatingPointError, InstantiationException, OmegaConfBaseException)


def train(arguments: Sequence[str]) -> None:
    """Compose ``conf/train.yaml`` with the overrides and train."""
    # Hydra's parser takes overrides in one piece only; users write -m anywhere.
    arguments = sorted(with_saved_overrides(arguments), key=lambda argument: argument not in MULTIRUN)
    arguments = with_lists_of_folders(with_quoted_folder(arguments))
    check_grid(arguments)
    sys.argv = ["scumble train", *arguments, *naming_of_sweep(arguments)]
    hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="train")(_train)()


def _train(config: DictConfig) -> Any:
    prepare_worker(config.trainer.devices)
    from scumble.run import train

    _quiet()  # after the import, which sets the levels of Lightning's loggers
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _going_on(train)(config)
    return ending_in_one_line(train)(config)


def evaluate(arguments: Sequence[str]) -> None:
    """Compose ``conf/evaluate.yaml`` with the overrides and measure a run."""
    # What is given for data changes the run's own data config, whose keys this config does not know.
    added = [f"+{word}" if word.startswith("data.") else word for word in with_quoted_folder(arguments)]
    sys.argv = ["scumble evaluate", *added]
    hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="evaluate")(_evaluate)()


def _evaluate(config: DictConfig) -> None:
    from scumble.run import evaluate

    _quiet()
    ending_in_one_line(evaluate)(config)


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


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides, taken apart. Raises: ValueError for one that is none."""
    try:
        return list(OverridesParser.create().parse_overrides(list(overrides)))
    except OverrideParseException as error:
        raise ValueError(str(error)) from error


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


def compose_run(words: Sequence[str]) -> DictConfig:
    """The config of one run by its overrides, with Hydra's own part.

    Raises: HydraException or OmegaConfBaseException if there is no such config.
    """
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return hydra.compose("train", list(words), return_hydra_config=True)


def check_grid(arguments: Sequence[str]) -> None:
    """End before a sweep starts anything if some of its runs cannot be composed, and name all of them.

    Every choice of a group is looked at, and of a value that is swept the first: the others have the same key.
    """
    flags = {argument for argument in arguments if argument.startswith("-")}
    if not flags or flags - set(MULTIRUN):
        return  # no sweep, or a question to Hydra
    try:
        sweep = parse([word for word in arguments if word not in MULTIRUN])
    except ValueError:
        return  # Hydra says what is wrong
    found = {}
    for words in runs_of_grid([_first_value(override) for override in sweep]):
        try:
            compose_run(words)
        except (HydraException, OmegaConfBaseException) as error:
            found[what_changed(words, sweep)] = message_of(error)
    if found:
        sys.exit(f"scumble: the sweep was not started, it has runs that cannot be composed.\n{by_message(found)}")


def what_changed(words: Sequence[str], sweep: Sequence[Override]) -> str:
    """What is different in one run of a sweep, by the overrides of both: the name of its folder."""
    swept = {_key(override.get_key_element()) for override in sweep if override.is_sweep_override()}
    return ",".join(sorted(word for word in words if _key(word) in swept))


def by_message(errors: Mapping[str, str]) -> str:
    """The names of runs below what is wrong with them, which is said once for all of them."""
    names: dict[str, list[str]] = {}
    for name, message in errors.items():
        names.setdefault(message, []).append(name)
    return "\n".join(f"{message}\n{indent(chr(10).join(runs), '  ')}" for message, runs in names.items())


def quoted(value: object) -> str:
    """A value for an override that Hydra takes as it is, whatever characters it has."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _first_value(override: Override) -> str:
    """The override, with one value if it sweeps a value; the choices of a group differ in their keys."""
    if override.is_discrete_sweep() and not (CONFIG_FOLDER / override.key_or_group).is_dir():
        return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
    return str(override.input_line)


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def ending_in_one_line(function: Callable[[Input], Any]) -> Callable[[Input], Any]:
    """The function, which ends the process with one line if the user made a mistake."""

    def wrapped(given: Input) -> Any:
        try:
            return function(given)
        except USER_ERRORS as error:
            if os.environ.get("SCUMBLE_TRACEBACK"):
                raise
            sys.exit(f"scumble: {message_of(error)}")

    return wrapped


def _going_on(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """A run of a sweep: its error is kept in its folder, and the other runs go on."""

    def wrapped(config: DictConfig) -> Any:
        kept = Path(HydraConfig.get().runtime.output_dir) / ERROR_FILE
        try:
            metrics = function(config)
        except Exception as error:
            with atomic_write(kept) as file:
                file.write(f"{message_of(error)}\n\n{traceback.format_exc()}".encode())
            log.error("This run failed: %s", message_of(error))
            return {}
        kept.unlink(missing_ok=True)  # another process may have found that it could not train this run
        return metrics

    return wrapped


def message_of(error: BaseException) -> str:
    """What a user should read of an error; Hydra wraps those of what it makes."""
    message = str((isinstance(error, InstantiationException) and error.__cause__) or error) or type(error).__name__
    return message.split("\nConfig search path:")[0]


class SweepSummary(Callback):
    """At the end of a sweep: where it is, and which of its runs failed, if any did; then the exit status is 1."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        failed = {path.parent: read_error(path.parent) for path in sorted(folder.rglob(ERROR_FILE))}
        print(f"\nThe sweep is in {folder}")
        if failed:
            listed = "\n".join(f"  {run.relative_to(folder)}: {message}" for run, message in failed.items())
            sys.exit(f"scumble: these runs of the sweep failed, {ERROR_FILE} in their folders says where:\n{listed}")


def _quiet() -> None:
    """Hide what Lightning says at every start, and what does not apply to endless loaders."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # the average of the generator is
    warnings.filterwarnings("ignore", ".*`srun` command is available.*")  # its hint names a script that nobody started
    warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\).*")
