"""``scumble train`` as a Hydra application: overrides, multirun, resume from a run folder."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from scumble.config import CONFIG_FOLDER

# These are about the user's input and say how to mend it, so they end in one line; SCUMBLE_TRACEBACK=1 shows more.
USER_ERRORS = (ValueError, OSError, InstantiationException, OmegaConfBaseException)


def train(arguments: Sequence[str]) -> None:
    """Compose ``conf/train.yaml`` with the overrides and train."""
    sys.argv = ["scumble train", *with_saved_overrides(arguments)]
    hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="train")(_train)()


def _train(config: DictConfig) -> Any:
    from scumble.run import train

    _quiet()  # after the import, which sets the levels of Lightning's loggers
    return _ending_in_one_line(train)(config)


def with_saved_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments of a resumed run after those it was started with, so that they need not be given again.

    ``scumble train run_dir=RUN resume=true steps=4000`` means the run in RUN as it was, but with 4000 steps.
    """
    values = dict(argument.split("=", 1) for argument in arguments if "=" in argument and not argument.startswith("-"))
    saved = Path(values.get("run_dir", "")) / ".hydra" / "overrides.yaml"
    if values.get("resume", "").lower() != "true" or not saved.is_file():
        return list(arguments)
    before = yaml.safe_load(saved.read_text()) or []
    given = {_key(argument) for argument in arguments}
    return [override for override in before if _key(override) not in given] + list(arguments)


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _ending_in_one_line(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    def wrapped(config: DictConfig) -> Any:
        try:
            return function(config)
        except USER_ERRORS as error:
            if os.environ.get("SCUMBLE_TRACEBACK"):
                raise
            sys.exit(f"scumble: {error.__cause__ if isinstance(error, InstantiationException) else error}")

    return wrapped


def _quiet() -> None:
    """Hide what Lightning says at every start, and what does not apply to endless loaders."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # the average of the generator is
    warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\).*")
