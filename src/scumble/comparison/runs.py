"""Runs and sweeps as they are found on disk: read only, without torch, and whatever a kill has left of them."""

import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd
import yaml

from scumble.config import config_hash
from scumble.ledger import STATUS_FILE, State, read_error, read_status
from scumble.resume import in_any_folder, leaves
from scumble.slurm import Queue

if TYPE_CHECKING:
    from scumble.comparison.table import Table

CONFIG, METRICS, OVERRIDES, CHOICES = "config.yaml", "metrics.csv", ".hydra/overrides.yaml", ".hydra/hydra.yaml"
# A folder that holds one of them is of a run.
SIGNS = (CONFIG, METRICS, STATUS_FILE, OVERRIDES)
# Data settings that do not affect what `scumble evaluate` measures.
TRAINING_DATA = (
    "seed", "image_size", "batch_size", "load_size", "crop_scale", "num_workers", "cache_gib", "strict", "download",
)  # fmt: skip


class Measured(NamedTuple):
    """A metric of one run: its mean over images or pairs, with a 95 % interval if the file has one."""

    mean: float
    low: float | None = None
    high: float | None = None


class Scores(NamedTuple):
    """What a run was measured to be. Only numbers of the same ``source`` can be compared.

    ``strength`` is the one that its generator painted with, None if it takes none.
    """

    source: str
    metrics: dict[str, Measured]
    strength: float | None = None
    default_strength: float | None = None
    step: int | None = None


@dataclass(frozen=True)
class Run:
    """What the folder of a run holds.

    ``config`` has the dotted keys of the resolved config, without the folder it is in; ``overrides`` what was given on
    the command line, ``choices`` the chosen config groups. ``metrics`` is the table of ``metrics.csv``, by step;
    ``grids`` are the pictures, by step. What could not be read is empty, and ``missing`` says so.
    """

    path: Path
    name: str
    state: State | None
    step: int
    config: dict[str, Any]
    overrides: dict[str, Any]
    choices: dict[str, str]
    metrics: pd.DataFrame
    scores: list[Scores]
    grids: dict[int, Path]
    error: str = ""
    missing: list[str] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        """The step of the last validation, or of the newest checkpoint if there was none."""
        steps = self.validations.index
        return int(steps[-1]) if len(steps) else self.step

    @cached_property
    def validations(self) -> pd.DataFrame:
        """The rows of ``metrics`` with a ``val/...``, and those columns."""
        columns = [name for name in self.metrics.columns if name.startswith("val/")]
        return self.metrics[columns].dropna(how="all")

    @cached_property
    def results(self) -> dict[str, Measured]:
        """``val/NAME`` of the last validation, NaN if it was no number, and ``SOURCE/NAME`` of all scores.

        Of a generator that takes a strength, those at its default strength.
        """
        last = self.validations.tail(1)
        found = {name: Measured(float(last[name].iloc[0])) for name in last.columns if len(last)}
        for scores in self.scores:
            if scores.strength == scores.default_strength:
                found |= {f"{scores.source}/{name}": measured for name, measured in scores.metrics.items()}
        return found

    @cached_property
    def strengths(self) -> dict[float, dict[str, Measured]]:
        """``SOURCE/NAME`` of the scores at each strength, in the order of the strengths."""
        found: dict[float, dict[str, Measured]] = {}
        for scores in self.scores:
            if scores.strength is not None:
                at_strength = found.setdefault(scores.strength, {})
                at_strength |= {f"{scores.source}/{name}": measured for name, measured in scores.metrics.items()}
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Sweep:
    """Runs to be compared, and what is known of those that have no folder yet."""

    runs: list[Run]
    pending: list[str] = field(default_factory=list)

    def to_dataframe(self, per: Literal["run", "configuration"] = "run") -> pd.DataFrame:
        """A row per run, or per configuration with its means over seeds: the keys that differ, and the metrics.

        Of configurations, ``NAME_sd`` is the standard deviation over the seeds, ``NAME_low`` and ``NAME_high`` bound
        the 95 % interval of the mean.
        Raises: ValueError for another ``per``.
        """
        table = self.table()
        tables = {"run": table.of_runs, "configuration": table.of_configurations}
        if per not in tables:
            raise ValueError(f"per is {per!r}; accepted: {', '.join(tables)}")
        return tables[per]()

    def table(self) -> "Table":
        """The same as typed Python objects."""
        from scumble.comparison.table import tabulate

        return tabulate(self.runs)


def load_run(path: str | Path, name: str | None = None, queue: Queue | None = None) -> Run:
    """The run in a folder, with a list of what is missing of it. Without a ``queue`` SLURM is asked whether it lives.

    Raises: FileNotFoundError if there is no such folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder; give the folder of a run")
    missing: list[str] = []
    status, error = read_status(path, queue), read_error(path)
    if status is None and (path / STATUS_FILE).exists():
        missing.append(f"{STATUS_FILE} cannot be read")
    overrides = _overrides(_read_yaml(path / OVERRIDES, list))
    metrics = _read_metrics(path, missing)
    run = Run(
        path=path,
        name=name or path.resolve().name,
        state=status.state if status else State.FAILED if error else None,
        step=status.step if status else 0,
        config=_config(path, overrides, missing),
        overrides=overrides,
        choices=_choices(path),
        metrics=metrics,
        scores=_read_scores(path, missing),
        grids={int(found.stem[5:]): found for found in sorted((path / "grids").glob("step=*.png"))
               if found.stem[5:].isdigit()},
        error=error,
        missing=missing,
    )  # fmt: skip
    if len(metrics) and not len(run.validations):
        missing.append("no validation yet")
    if not run.grids:
        missing.append("no pictures")
    return run


def load_sweep(*paths: str | Path) -> Sweep:
    """The runs in the folders of sweeps, and the runs that are named themselves, each once.

    A run's name is its folder, without what all of them have in common.
    Raises: FileNotFoundError for a folder that is not there, ValueError for one that holds no run.
    """
    folders: dict[Path, None] = {}
    pending: list[str] = []
    queue = Queue()
    for path in map(Path, paths):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder; give folders of runs or of sweeps")
        found, waiting = list(_run_folders(path.resolve())), _pending(path, queue)
        pending += waiting
        if not found and not waiting:
            raise ValueError(f"{path} holds no run: a run's folder has one of {', '.join(SIGNS)}")
        folders |= dict.fromkeys(found)
    common = Path(os.path.commonpath([folder.parent for folder in folders])) if folders else Path()
    return Sweep([load_run(folder, str(folder.relative_to(common)), queue) for folder in folders], pending)


def _run_folders(folder: Path) -> Iterator[Path]:
    """The folders of runs in a folder; those of W&B and Hydra within them look alike, so the search ends at a run."""
    if any((folder / sign).is_file() for sign in SIGNS):
        yield folder
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            yield from _run_folders(child)


def _pending(folder: Path, queue: Queue) -> list[str]:
    """The runs of a sweep that have no folder yet, by what they change; none if that is not known."""
    if not (folder / "multirun.yaml").is_file():
        return []
    from scumble.sweeps.folder import overrides_of, runs_of

    try:
        given = overrides_of(folder)  # as it was written, so a value of a sweep is not among them
        runs = [run for run in runs_of(folder, queue) if run.state == State.PENDING]
        names = [run.name for run in runs if not (folder / run.name).is_dir()]
        return [" ".join(word for word in name.split(" ") if word not in given) for name in names]
    except (ValueError, OSError):
        return []


def _config(path: Path, overrides: Mapping[str, Any], missing: list[str]) -> dict[str, Any]:
    config = _read_yaml(path / CONFIG, dict)
    if config:
        return dict(leaves(in_any_folder(config)))
    missing.append(f"no {CONFIG}: of its settings, those of the command line are known" if overrides
                   else f"no {CONFIG}: its settings are not known")  # fmt: skip
    return dict(overrides)


def _choices(path: Path) -> dict[str, str]:
    """The chosen config groups, but for Hydra's own."""
    found: Any = _read_yaml(path / CHOICES, dict)
    for name in ("hydra", "runtime", "choices"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        return {}
    return {
        str(group): str(choice)
        for group, choice in found.items()
        if choice is not None and not str(group).startswith("hydra/") and "@" not in str(group)
    }


def _overrides(words: Sequence[Any]) -> dict[str, Any]:
    found = {}
    for word in words:
        key, equals, value = str(word).lstrip("+").partition("=")
        if equals:
            try:
                found[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                found[key] = value
    return found


def _read_metrics(path: Path, missing: list[str]) -> pd.DataFrame:
    """``metrics.csv``, by step; a last row that a kill has cut short has no newline and is left out."""
    empty = pd.DataFrame(index=pd.Index([], name="step", dtype="int64"))
    try:
        text = (path / METRICS).read_text(errors="replace").rpartition("\n")[0]
        table = pd.read_csv(io.StringIO(text), on_bad_lines="skip", low_memory=False)
        numbers = table.apply(pd.to_numeric, errors="coerce").dropna(subset=["step"])
    except FileNotFoundError:
        missing.append(f"no {METRICS}")
        return empty
    except (OSError, ValueError, KeyError) as error:
        missing.append(f"{METRICS} cannot be read ({str(error).splitlines()[0]})")
        return empty
    numbers = numbers.astype({"step": "int64"}).drop_duplicates("step", keep="last").set_index("step").sort_index()
    if not len(numbers):
        missing.append(f"{METRICS} has no row yet")
    return numbers.dropna(axis="columns", how="all")


def _read_scores(path: Path, missing: list[str]) -> list[Scores]:
    """What ``scumble evaluate`` has written, without a protocol and with one."""
    found = {}
    for file in sorted([*path.glob("evaluation.json"), *path.glob("scores-*.json")]):
        try:
            content = json.loads(file.read_text())
            found[file.name] = _of_evaluation(content) if file.name == "evaluation.json" else _of_protocol(content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            missing.append(f"{file.name} cannot be read ({error or type(error).__name__})")
    return _of_one_checkpoint(found, missing)


def _of_one_checkpoint(found: Mapping[str, Scores], missing: list[str]) -> list[Scores]:
    """The scores of the newest checkpoint under each protocol: the strengths of a curve must be of one model."""
    steps = {name: -1 if scores.step is None else scores.step for name, scores in found.items()}
    newest: dict[str, int] = {}
    for name, scores in found.items():
        newest[scores.source] = max(steps[name], newest.get(scores.source, -1))
    for name, scores in found.items():
        if steps[name] < newest[scores.source]:
            missing.append(f"{name} is of an older checkpoint than other scores of its protocol: measure it again")
    return [scores for name, scores in found.items() if steps[name] == newest[scores.source]]


def _of_protocol(content: Mapping[str, Any]) -> Scores:
    metrics = {}
    for name, of in content["summary"].items():
        mean = math.nan if of["mean"] is None else float(of["mean"])
        metrics[str(name)] = Measured(mean, _number(of.get("low")), _number(of.get("high")))
    details = content.get("details", {})
    step = None if details.get("step") is None else int(details["step"])
    strength, default = _number(content.get("strength")), _number(details.get("default_strength"))
    return Scores(f"scores-{content['protocol'][:8]}", metrics, strength, default, step)


def _of_evaluation(content: Mapping[str, Any]) -> Scores:
    data = {name: value for name, value in content["data"].items() if name not in TRAINING_DATA}
    conditions = {"data": data, "metrics": content["metrics_config"], "images": content["images"]}
    metrics = {str(name): Measured(float(mean)) for name, mean in content["metrics"].items()}
    return Scores(f"evaluation-{config_hash(conditions)[:8]}", metrics)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _read_yaml(path: Path, kind: type) -> Any:
    """The content of a YAML file, empty if it cannot be read or is something else."""
    try:
        found = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    return found if isinstance(found, kind) else kind()
