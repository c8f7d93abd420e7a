"""Configs: where they are, what they may name, and how they become objects.

A config that a user composes on the command line may name any class: that is how scumble is extended. A config that was
read from a file (a checkpoint, a run folder) is a stranger's: it may name only the classes of the packages of
:data:`TRUSTED`, and of the packages that the user adds with ``trust``.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from json import dumps
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from scumble.moved import with_current_names

# In a checkout conf/ stands beside src/, in an installed wheel inside the package.
_PACKAGE = Path(__file__).parent
CONFIG_FOLDER = next(path for path in (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf") if path.is_dir())

# Leaves out scumble's config and command modules, and everything in torch that loads files or compiles code.
TRUSTED = (
    "scumble.callbacks",
    "scumble.data",
    "scumble.loggers",
    "scumble.losses",
    "scumble.metrics",
    "scumble.networks",
    "scumble.schedules",
    "scumble.strategies",
    "scumble.tasks",
    "torch.nn",
    "torch.optim",
    "torchvision.models",
    "torchvision.ops",
    "torchvision.transforms",
    "torchmetrics",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.trainer",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
)


class UntrustedConfigError(ValueError):
    """A config from a file names something outside of the trusted packages."""


def instantiate(config: Any) -> Any:
    """The object that a resolved config of plain data describes, by Hydra's rules for ``_target_``."""
    return hydra_instantiate(with_current_names(config), _convert_="all")


def instantiate_untrusted(config: Any, trust: Sequence[str] = ()) -> Any:
    """:func:`instantiate` for a config that was read from a file.

    Raises: UntrustedConfigError before anything is made, if a target is not of a trusted package; ValueError or OSError
    if what it describes cannot be made.
    """
    check_trust(config, trust)
    try:
        return instantiate(config)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from error
        raise ValueError(str(error)) from error


def check_trust(config: Any, trust: Sequence[str] = ()) -> None:
    """Raise :class:`UntrustedConfigError` if a ``_target_`` is not of a trusted package or one of ``trust``.

    A name inside a package is not enough, since packages import others (``scumble.data.sample.os.system``): the object
    must be defined in a trusted package, and must be a class; public functions are accepted from scumble's packages and
    from ``trust``.
    """
    for key, value in _values(config):
        if isinstance(value, str) and "${" in value:  # it could become a config whose targets were not looked at
            raise UntrustedConfigError(f"{key}: {value} is an interpolation; only a resolved config can be trusted")
    for key, target in targets(with_current_names(config)):
        if not _is_trusted(target, trust):
            package = target.split(".")[0]
            raise UntrustedConfigError(
                f"{key}: {target} is not a class of a trusted package ({', '.join((*TRUSTED, *trust))}). If you know "
                f"the author of the file and this package, trust it by name: trust=[{package}] for scumble "
                f"train, --trust {package} for scumble stylize"
            )


def targets(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All ``_target_`` of a config of plain data, with the keys where they stand."""
    for where, value in _values(config, key):
        if isinstance(value, Mapping) and "_target_" in value:
            yield f"{where}._target_".lstrip("."), str(value["_target_"])


def _values(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """A config of plain data and everything in it, each with the key where it stands."""
    yield key, config
    children: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(config, Mapping):
        children = iter(config.items())
    elif isinstance(config, list | tuple):
        children = iter(enumerate(config))
    for name, child in children:
        yield from _values(child, f"{key}.{name}".lstrip("."))


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that two resolved configs share only if they are equal."""
    return sha256(dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _is_trusted(target: str, trust: Sequence[str]) -> bool:
    packages = (*TRUSTED, *trust)
    if not _is_within(target, packages):
        return False
    found = _locate(target)
    if inspect.isclass(found):
        return _is_within(found.__module__, packages)
    own = [package for package in TRUSTED if package.startswith("scumble.")]
    return (
        inspect.isfunction(found)
        and not found.__name__.startswith("_")
        and _is_within(found.__module__, (*own, *trust))
    )


def _is_within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _locate(target: str) -> Any:
    """The object of a dotted name, or None: the longest prefix that is a module, then its attributes."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


def to_plain(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A config as plain data, all interpolations resolved, or left as they are written.

    Raises: MissingMandatoryValue if a value that the user must give is missing.
    """
    plain = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
