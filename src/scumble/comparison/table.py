"""The table of runs: the keys that differ, and the metrics, per run or per configuration with the spread over seeds."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from scipy.special import stdtrit

from scumble.comparison.front import non_dominated
from scumble.comparison.runs import Measured, Run
from scumble.directions import is_better_higher
from scumble.files import atomic_write

CONTENT, STYLE = "val/content_distance", "val/style_distance"
CONFIDENCE = 0.95
# What a configuration is repeated with.
SEED = "seed"


class Estimate(NamedTuple):
    """A metric of a configuration: the mean over ``seeds`` seeds.

    ``deviation`` is the standard deviation over the seeds. ``low`` and ``high`` bound the 95 % interval of the mean:
    Student's over the seeds; of a single seed, the one that its scores have over images, if they have one.
    """

    mean: float
    seeds: int
    deviation: float | None
    low: float | None
    high: float | None


class Configuration(NamedTuple):
    """Runs that differ in their seed alone, by their place in the table; ``counted`` are the runs of the estimates.

    ``strengths`` has the metrics that are known at each strength of a generator that takes one.
    """

    settings: dict[str, Any]
    runs: list[int]
    counted: list[int]
    metrics: dict[str, Estimate]
    strengths: dict[float, dict[str, Estimate]]


@dataclass(frozen=True)
class Table:
    """All runs: the ``keys`` in which their configs differ (``seed`` last), the ``metrics`` that any of them has."""

    runs: list[Run]
    keys: list[str]
    metrics: list[str]
    settings: list[dict[str, Any]]
    configurations: list[Configuration]
    objectives: tuple[str, str]

    @property
    def front(self) -> list[bool]:
        """Whether each configuration is on the trade-off front of the objectives."""
        first, second = ([self._cost(configuration, name) for configuration in self.configurations]
                         for name in self.objectives)  # fmt: skip
        return non_dominated(list(zip(first, second, strict=True)))

    def _cost(self, configuration: Configuration, metric: str) -> float:
        """A metric, the lower the better; NaN if the configuration has none."""
        found = configuration.metrics.get(metric)
        return math.nan if found is None else -found.mean if is_better_higher(metric) else found.mean

    def of_runs(self) -> pd.DataFrame:
        """A row per run."""
        rows = [
            {"run": run.name, "state": str(run.state or "unknown"), "step": run.last_step}
            | {key: settings.get(key) for key in self.keys}
            | {name: run.results[name].mean for name in self.metrics if name in run.results}
            for run, settings in zip(self.runs, self.settings, strict=True)
        ]
        return pd.DataFrame(rows, columns=["run", "state", "step", *self.keys, *self.metrics])

    def of_configurations(self) -> pd.DataFrame:
        """A row per configuration."""
        keys = [key for key in self.keys if key != SEED]
        rows = []
        for configuration, front in zip(self.configurations, self.front, strict=True):
            row: dict[str, Any] = {key: configuration.settings.get(key) for key in keys}
            row |= {
                "on_front": front,
                "seeds": len(configuration.counted),
                "step": max(self.runs[index].last_step for index in configuration.runs),
            }
            for name, estimate in configuration.metrics.items():
                row |= {name: estimate.mean, f"{name}_sd": estimate.deviation,
                        f"{name}_low": estimate.low, f"{name}_high": estimate.high}  # fmt: skip
            rows.append(row | {"runs": " ".join(self.runs[index].name for index in configuration.runs)})
        columns = [f"{name}{end}" for name in self.metrics for end in ("", "_sd", "_low", "_high")]
        frame = pd.DataFrame(rows, columns=[*keys, "on_front", "seeds", "step", *columns, "runs"])
        unknown = [name for name in columns if name not in self.metrics and frame[name].isna().all()]
        return frame.drop(columns=unknown)

    def write(self, folder: Path) -> list[Path]:
        """Write ``table.csv``, ``table.json`` and ``table.md``, a row per configuration, and return their paths."""
        frame = self.of_configurations()
        records = json.dumps(json.loads(frame.to_json(orient="records")), indent=1)
        texts = {"csv": frame.to_csv(index=False), "json": records, "md": self.to_markdown()}
        paths = [folder / f"table.{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            with atomic_write(path) as file:
                file.write(text.encode())
        return paths

    def to_markdown(self) -> str:
        """The means with their standard deviations as a table of Markdown; the front is bold."""
        keys = [key for key in self.keys if key != SEED]
        lines = ["| " + " | ".join([*map(_cell, keys), "seeds", *map(_cell, self.metrics)]) + " |",
                 "|" + " --- |" * len(keys) + " ---: |" * (1 + len(self.metrics))]  # fmt: skip
        for configuration, front in zip(self.configurations, self.front, strict=True):
            settings = [_cell(shown(configuration.settings.get(key))) for key in keys]
            numbers = [_number(configuration.metrics.get(name)) for name in self.metrics]
            cells = [*settings, str(len(configuration.counted)), *numbers]
            lines.append("| " + " | ".join(f"**{cell}**" if front and cell else cell for cell in cells) + " |")
        return "\n".join([*lines, ""])


def tabulate(runs: Sequence[Run]) -> Table:
    """The table of runs, configurations in the order in which they come."""
    keys = changed_keys(runs)
    settings = [{key: _value(run, key) for key in keys} for run in runs]
    metrics = _in_order({name: None for run in runs for found in _all_results(run) for name in found})
    grouped: dict[tuple[Hashable, ...], list[int]] = {}
    for index, of_run in enumerate(settings):
        group = tuple(_comparable(of_run[key]) for key in keys if key != SEED)
        grouped.setdefault(group, []).append(index)
    configurations = [_configuration(indices, runs, settings) for indices in grouped.values()]
    return Table(list(runs), keys, metrics, settings, configurations, _objectives(metrics, runs))


def changed_keys(runs: Sequence[Run]) -> list[str]:
    """The settings in which runs differ, those of the command line first; ``seed`` last. Loggers are none.

    A chosen config group stands for everything that follows from it, and a key for its copies by interpolation, unless
    they were given on the command line themselves.
    """
    given = {key: None for run in runs for key in run.overrides}
    names = {key: None for run in runs for key in (*run.config, *run.choices)} | given
    columns = {
        key: [_comparable(_value(run, key)) for run in runs] for key in names if not f"{key}.".startswith("logger.")
    }
    changed = {key: column for key, column in columns.items() if _differs(runs, key)}
    groups = [key for key in changed if any(key in run.choices for run in runs)]
    kept = [key for key in given if key in changed]
    kept += [key for key in groups if key not in kept and not _follows(changed[key], [changed[k] for k in kept])]
    sources = [changed[key] for key in groups if key in kept]
    for key in sorted(changed, key=lambda key: (key.count("."), len(key))):
        column = changed[key]
        if key not in kept and not _follows(column, sources) and column not in [changed[k] for k in kept]:
            kept.append(key)
    return sorted(kept, key=lambda key: key == SEED)


def shown(value: Any) -> str:
    """A setting as a reader should see it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(run: Run, key: str) -> Any:
    """A setting of a run; None if it has none, or if it is not known."""
    if key in run.choices:
        return run.choices[key]
    return run.config.get(key)


def _differs(runs: Sequence[Run], key: str) -> bool:
    """Whether runs of which a setting is known differ in it; that a config has no such key is known."""
    known = [run for run in runs if key in run.choices or key in run.config or len(run.config) > len(run.overrides)]
    return len({_comparable(_value(run, key)) for run in known}) > 1


def _follows(column: Sequence[Hashable], sources: Sequence[Sequence[Hashable]]) -> bool:
    """Whether a column has one value for each value of another."""
    return any(len(set(zip(source, column, strict=True))) == len(set(source)) for source in sources)


def _comparable(value: Any) -> Hashable:
    """Equal for equal settings: 5 and 5.0 are, 1 and true are not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return json.dumps(value, sort_keys=True, default=str)


def _in_order(metrics: Mapping[str, None]) -> list[str]:
    """The objectives first, then scores with a protocol, then the rest of the validation."""
    return sorted(metrics, key=lambda name: (name not in (CONTENT, STYLE), name.startswith("val/"), name))


def _all_results(run: Run) -> list[dict[str, Measured]]:
    """The results of a run, and those at each strength of its generator."""
    return [run.results, *run.strengths.values()]


def _objectives(metrics: Sequence[str], runs: Sequence[Run]) -> tuple[str, str]:
    """The distances from content and style that show the curves of strengths, if all runs with results have them.

    Else the distances of the validation, or the first two metrics that there are.
    """
    first = [*_curved(metrics, runs), *(name for name in (CONTENT, STYLE) if name in metrics)]
    found = [*first, *(name for name in metrics if name not in first), CONTENT, STYLE]
    return found[0], found[1]


def _curved(metrics: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """The distances from content and style that every run with results has at several strengths under one protocol."""
    measured = [run for run in runs if any(_all_results(run))]

    def is_curve(run: Run, name: str) -> bool:
        return sum(name in found for found in run.strengths.values()) > 1

    curved = [name for name in metrics if measured and all(is_curve(run, name) for run in measured)]
    for style in (name for name in curved if name.endswith("/style_distance")):
        source = style.rpartition("/")[0]
        for content in (f"{source}/content_distance", f"{source}/lpips"):
            if content in curved:
                return [content, style]
    return []


def _configuration(indices: Sequence[int], runs: Sequence[Run], settings: Sequence[Mapping[str, Any]]) -> Configuration:
    """Runs that differ in their seed alone. One that ended before the others is not counted, and no seed twice."""
    furthest = max(runs[index].last_step for index in indices)
    by_seed = {_comparable(_value(runs[index], SEED)): index for index in indices if runs[index].last_step == furthest}
    counted = list(by_seed.values())
    metrics = _estimates([runs[index].results for index in counted])
    strengths = {
        strength: _estimates([runs[index].strengths.get(strength, {}) for index in counted])
        for strength in sorted({strength for index in counted for strength in runs[index].strengths})
    }
    own = {key: value for key, value in settings[indices[0]].items() if key != SEED}
    return Configuration(own, list(indices), counted, metrics, strengths)


def _estimates(results: Sequence[Mapping[str, Measured]]) -> dict[str, Estimate]:
    """The estimate of each metric from the results of several seeds."""
    names = {name: None for found in results for name in found}
    return {name: estimate([found[name] for found in results if name in found]) for name in names}


def estimate(measured: Sequence[Measured]) -> Estimate:
    """The mean over seeds, its standard deviation and its 95 % interval."""
    values = [one.mean for one in measured]
    count, mean = len(values), math.fsum(values) / len(values)
    if count == 1 or not math.isfinite(mean):
        alone = measured[0] if count == 1 else Measured(mean)
        return Estimate(mean, count, None, alone.low, alone.high)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    return Estimate(mean, count, deviation, mean - half, mean + half)


def _number(found: Estimate | None) -> str:
    if found is None:
        return ""
    return f"{found.mean:.4g}" + (f" ± {found.deviation:.2g}" if found.deviation is not None else "")


def _cell(text: str) -> str:
    """Text that stays in one cell of Markdown, and is no HTML."""
    replaced = {"\\": "\\\\", "|": "\\|", "\n": " ", "<": "&lt;", "*": "\\*", "`": "\\`"}
    return "".join(replaced.get(character, character) for character in text)
