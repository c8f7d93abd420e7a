"""``scumble train`` as a Hydra application: overrides, multirun, resume from a run folder."""

import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from scumble.config import CONFIG_FOLDER
from scumble.errors import by_message, message_of, one_line_errors
from scumble.files import atomic_write
from scumble.ledger import ERROR_FILE, read_error
from scumble.overrides import (
    MULTIRUN,
    compose_run,
    first_value,
    naming_of_sweep,
    parse,
    runs_of_grid,
    what_changed,
    with_lists_of_folders,
    with_quoted_folder,
    with_saved_overrides,
)
from scumble.workers import prepare_worker

log = logging.getLogger(__name__)


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
        return keep_error(train)(config)
    return one_line_errors(train)(config)


def evaluate(arguments: Sequence[str]) -> None:
    """Compose ``conf/evaluate.yaml`` with the overrides and measure a run."""
    # What is given for data changes the run's own data config, whose keys this config does not know.
    added = [f"+{word}" if word.startswith("data.") else word for word in with_quoted_folder(arguments)]
    sys.argv = ["scumble evaluate", *added]
    hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="evaluate")(_evaluate)()


def _evaluate(config: DictConfig) -> None:
    from scumble.evaluation import evaluate

    _quiet()
    one_line_errors(evaluate)(config)


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
    for words in runs_of_grid([first_value(override) for override in sweep]):
        try:
            compose_run(words)
        except (HydraException, OmegaConfBaseException) as error:
            found[what_changed(words, sweep)] = message_of(error)
    if found:
        sys.exit(f"scumble: the sweep was not started, it has runs that cannot be composed.\n{by_message(found)}")


def keep_error(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """A run of a sweep: its error is written to its folder, and the other runs continue."""

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
