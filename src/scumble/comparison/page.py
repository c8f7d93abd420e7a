"""The page of a comparison: one HTML file with everything in it, which opens from disk and asks for nothing else."""

import html
import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from scumble.comparison.cells import ContactSheet
from scumble.comparison.runs import Run, Sweep
from scumble.comparison.table import SEED, Estimate, Table, shown
from scumble.directions import is_better_higher
from scumble.files import atomic_write
from scumble.ledger import State

Curve = tuple[list[int], list[float]]
SCRIPTS = ("page.js", "table.js", "plots.js", "sheet.js", "main.js")
# Points of all learning curves of the page together, and of one.
CURVE_POINTS, MOST_POINTS, FEWEST_POINTS = 400_000, 400, 20


def write_page(sweep: Sweep, table: Table, sheet: ContactSheet, title: str, path: Path, limit: int) -> None:
    """Write the page; what is missing of the runs, and what was left out of the pictures, stands on it."""
    content = {
        "title": title,
        "notes": notes(sweep, table, sheet, limit),
        "keys": [_key(key, table) for key in table.keys],
        "metrics": [{"name": name, "higher": is_better_higher(name)} for name in table.metrics],
        "objectives": table.objectives,
        "runs": [_run(index, table) for index in range(len(table.runs))],
        "configurations": [
            {
                "settings": [shown(configuration.settings.get(key)) for key in table.keys if key != SEED],
                "runs": configuration.runs,
                "counted": configuration.counted,
                "metrics": [_estimate(configuration.metrics.get(name)) for name in table.metrics],
                "strengths": [
                    {"strength": strength, "metrics": [_estimate(found.get(name)) for name in table.metrics]}
                    for strength, found in configuration.strengths.items()
                ],
            }
            for configuration in table.configurations
        ],
        "curves": curves(table.runs),
        "sheet": {"side": sheet.side, "pairs": [pair._asdict() for pair in sheet.pairs], "cells": sheet.cells},
    }
    page = files("scumble.comparison") / "page"
    text = Template((page / "page.html").read_text()).substitute(
        title=html.escape(title),
        style=(page / "page.css").read_text(),
        plotly=_plotly(),
        scripts="\n".join(f"<script>\n{(page / name).read_text()}</script>" for name in SCRIPTS),
        content=embedded(content),
        pictures=embedded([b64encode(picture).decode() for picture in sheet.pictures]),
    )
    with atomic_write(path) as file:
        file.write(text.encode())


def embedded(content: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin another; what is not finite is null."""
    text = json.dumps(_finite(content), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def notes(sweep: Sweep, table: Table, sheet: ContactSheet, limit: int) -> list[dict[str, Any]]:
    """What a reader should know is missing, with the runs that it is missing of."""
    found: dict[str, list[str]] = {}
    for run in table.runs:
        for what in (*_state(run), *run.missing):
            found.setdefault(what, []).append(run.name)
    for configuration in table.configurations:
        for index in set(configuration.runs) - set(configuration.counted):
            what = "not in the means: the same seed is there twice, or other seeds went further"
            found.setdefault(what, []).append(table.runs[index].name)
    if sweep.pending:
        found["not started, so not on this page"] = sweep.pending
    if any(name not in table.metrics for name in table.objectives):
        found["without the two objectives there is no trade-off front"] = []
    for kind, reason in (("scores-", "protocols"), ("evaluation-", "sets of images or metrics")):
        sources = sorted({name.split("/")[0] for name in table.metrics if name.startswith(kind)})
        if len(sources) > 1:
            found[f"scores of {len(sources)} {reason} stand in columns of their own ({', '.join(sources)}): "
                  "such numbers cannot be compared"] = []  # fmt: skip
    for what in sheet.left_out:
        found[f"left out, to keep the pictures below {limit / 1e6:g} MB: {what}"] = []
    return [{"what": what, "runs": names} for what, names in found.items()]


def curves(runs: Sequence[Run]) -> dict[str, list[Curve]]:
    """For each metric of ``metrics.csv`` and each run its steps and values.

    Where there are more values than a page should hold, a point is the mean of several that follow each other.
    """
    count = sum(len(run.metrics.columns) for run in runs)
    points = max(FEWEST_POINTS, min(MOST_POINTS, CURVE_POINTS // max(1, count)))
    names = sorted({name for run in runs for name in run.metrics.columns}, key=lambda name: (name[:4] != "val/", name))
    return {name: [_thinned(run, name, points) for run in runs] for name in names}


def _thinned(run: Run, name: str, points: int) -> Curve:
    if name not in run.metrics:
        return [], []
    values = run.metrics[name].dropna()
    size = math.ceil(len(values) / points) or 1
    blocks = [slice(start, start + size) for start in range(0, len(values), size)]
    steps = [int(values.index[block][-1]) for block in blocks]
    return steps, [_rounded(float(values.iloc[block].mean())) for block in blocks]


def _key(key: str, table: Table) -> dict[str, Any]:
    """A key with its different values in order, numbers as numbers."""
    values = {shown(settings[key]): settings[key] for settings in table.settings}
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values())
    ordered = sorted(values, key=lambda text: values[text]) if is_number else sorted(values)
    return {"name": key, "values": ordered, "numbers": [float(values[text]) for text in ordered] if is_number else None}


def _run(index: int, table: Table) -> dict[str, Any]:
    run = table.runs[index]
    results = run.results
    return {
        "name": run.name,
        "state": str(run.state or "unknown"),
        "step": run.last_step,
        "settings": [shown(table.settings[index][key]) for key in table.keys],
        "metrics": [[_rounded(results[name].mean)] if name in results else None for name in table.metrics],
    }


def _estimate(found: Estimate | None) -> list[float | None] | None:
    """Mean, number of seeds, standard deviation and bounds; None if there is no such metric."""
    if found is None:
        return None
    return [_rounded(found.mean), found.seeds, *(None if one is None else _rounded(one) for one in found[2:])]


def _state(run: Run) -> Iterable[str]:
    if run.state == State.FAILED:
        yield f"failed: {run.error}" if run.error else "failed"
    elif run.state != State.DONE:
        yield f"{run.state or 'of unknown state'}, at step {run.last_step}"


def _rounded(value: float) -> float:
    """Six significant digits are enough to look at."""
    return float(f"{value:.6g}")


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
