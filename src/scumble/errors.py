"""Errors that users can fix: the command line prints them in one line. SCUMBLE_TRACEBACK=1 prints the traceback."""

import os
import sys
from collections.abc import Callable, Mapping
from textwrap import indent
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from omegaconf.errors import OmegaConfBaseException

Input = TypeVar("Input")

USER_ERRORS = (ValueError, OSError, FloatingPointError, InstantiationException, OmegaConfBaseException)


def message_of(error: BaseException) -> str:
    """The message of an error for the user; an error in an object that Hydra makes is wrapped by Hydra's own."""
    message = str((isinstance(error, InstantiationException) and error.__cause__) or error) or type(error).__name__
    return message.split("\nConfig search path:")[0]


def by_message(errors: Mapping[str, str]) -> str:
    """The names of runs below what is wrong with them, which is said once for all of them."""
    names: dict[str, list[str]] = {}
    for name, message in errors.items():
        names.setdefault(message, []).append(name)
    return "\n".join(f"{message}\n{indent(chr(10).join(runs), '  ')}" for message, runs in names.items())


def one_line_errors(function: Callable[[Input], Any]) -> Callable[[Input], Any]:
    """The function; a user error ends the process with one line, and with a traceback if SCUMBLE_TRACEBACK is set."""

    def wrapped(given: Input) -> Any:
        try:
            return function(given)
        except USER_ERRORS as error:
            if os.environ.get("SCUMBLE_TRACEBACK"):
                raise
            sys.exit(f"scumble: {message_of(error)}")

    return wrapped
