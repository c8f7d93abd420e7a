"""Scores: what a model reached under a protocol, for every pair and in summary."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scumble.files import atomic_write
from scumble.protocol.definition import ProtocolError

RESAMPLES = 2000
COVERAGE = 0.95

Values = NDArray[np.float64]


@dataclass
class Scores:
    """The scores of one model under one protocol.

    ``pairs`` has a row for each pair of the protocol, in its order, then one for each clip in each of its styles: the
    names of ``content`` and ``style``, and the value of each metric, None where the stylized image was not finite. What
    is measured of images is None for clips, and the other way round. ``summary`` has ``mean``, ``standard_error``,
    ``low``, ``high`` and ``n`` of each metric; metrics of all pairs together have no error and no interval. ``notes``
    says what to beware of, ``details`` what was measured and with what. ``strength`` is the one that the model painted
    with, None if it takes none.
    """

    protocol: str
    model: str
    pairs: list[dict[str, Any]]
    summary: dict[str, dict[str, float | None]]
    notes: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    strength: float | None = None

    def write(self, path: str | Path) -> None:
        """Write the scores as JSON."""
        with atomic_write(path) as file:
            file.write(f"{json.dumps(asdict(self), indent=1, allow_nan=False)}\n".encode())

    def values(self, metric: str) -> Values:
        """The values of all pairs, NaN where there is none."""
        return np.array([math.nan if row[metric] is None else row[metric] for row in self.pairs], dtype=np.float64)

    def groups(self) -> tuple[list[str], list[str]]:
        """The names of the contents and of the styles of all pairs."""
        return [row["content"] for row in self.pairs], [row["style"] for row in self.pairs]

    @property
    def pair_metrics(self) -> list[str]:
        """The metrics that have a value for each pair."""
        return [name for name in self.pairs[0] if name not in ("content", "style")]


def scores_file(protocol: str, strength: float | None = None) -> str:
    """The name of the scores of a protocol, at a strength if one was asked for, in the folder of a run."""
    return f"scores-{protocol[:8]}{at_strength(strength)}.json"


def at_strength(strength: float | None) -> str:
    """What names a strength after a model: ``@0.25``, with two decimals or more so that names sort as numbers."""
    if strength is None:
        return ""
    return f"@{strength:.2f}" if round(strength, 2) == strength else f"@{strength:g}"


def find_scores(places: Sequence[str | Path]) -> list[Path]:
    """The files of scores: each file that is named, and those in each folder.

    Raises: ProtocolError for a folder without scores.
    """
    found: list[Path] = []
    for place in map(Path, places):
        inside = sorted(place.glob("*scores-*.json")) if place.is_dir() else [place]
        if not inside:
            raise ProtocolError(f"no scores in {place}; make them with scumble evaluate --protocol")
        found += inside
    return list(dict.fromkeys(found))


def read_scores(path: str | Path) -> Scores:
    """The scores of a file.

    Raises: ProtocolError if it is missing or holds no scores.
    """
    try:
        scores = Scores(**json.loads(Path(path).read_text()))
        metrics = scores.pair_metrics
        if not all(row.keys() == {"content", "style", *metrics} for row in scores.pairs):
            raise ValueError("its pairs have different metrics")
    except FileNotFoundError:
        raise ProtocolError(f"no scores {path}; make them with scumble evaluate --protocol") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ProtocolError(f"{path}: no scores of scumble evaluate --protocol ({error})") from error
    return scores


def check_same_protocol(scores: Sequence[Scores]) -> None:
    """Raise ProtocolError unless all scores are of one protocol."""
    by_protocol: dict[str, list[str]] = {}
    for each in scores:
        by_protocol.setdefault(each.protocol, []).append(each.model)
    if len(by_protocol) > 1:
        listed = "; ".join(f"{protocol[:8]}: {', '.join(models)}" for protocol, models in by_protocol.items())
        raise ProtocolError(f"scores of different protocols cannot be compared ({listed}); evaluate again under one")


def summarize(values: Values, contents: Sequence[str], styles: Sequence[str], seed: int) -> dict[str, float | None]:
    """The mean of a metric over its pairs, with its standard error and its bootstrap interval.

    The standard error is that of independent pairs, s / sqrt(n). Pairs share contents and styles, so the interval is
    of :func:`bootstrap_interval`. What one pair alone cannot tell is None.
    """
    known = np.isfinite(values)
    found = values[known]
    if not len(found):
        return {"mean": None, "standard_error": None, "low": None, "high": None, "n": 0}
    error = float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None
    low, high = (
        bootstrap_interval(found, _at(contents, known), _at(styles, known), seed) if error is not None else (None, None)
    )
    return {"mean": float(found.mean()), "standard_error": error, "low": low, "high": high, "n": len(found)}


def bootstrap_interval(
    values: Values, contents: Sequence[str], styles: Sequence[str], seed: int
) -> tuple[float, float]:
    """The interval that holds 95 % of the means when contents and styles are both drawn anew, with replacement.

    A pair counts as often as its content was drawn times how often its style was, so that an image that is easy or
    hard in all of its pairs widens the interval. Drawing pairs instead would take 40 pairs of one photograph for 40
    photographs.
    Source: Owen 2007, the pigeonhole bootstrap, https://doi.org/10.1214/07-AOAS122.
    """
    rng = np.random.default_rng(seed)
    rows, columns = (np.unique(names, return_inverse=True)[1] for names in (contents, styles))
    shape = rows.max() + 1, columns.max() + 1
    table, present = np.zeros(shape), np.zeros(shape)
    table[rows, columns], present[rows, columns] = values, 1
    drawn_rows, drawn_columns = (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float) for n in shape)
    total = ((drawn_rows @ table) * drawn_columns).sum(axis=1)
    weight = ((drawn_rows @ present) * drawn_columns).sum(axis=1)
    means = total[weight > 0] / weight[weight > 0]  # few pairs may all be missed by a draw
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def table(scores: Sequence[Scores]) -> str:
    """The scores of several models as a Markdown table, a row for each metric.

    Raises: ProtocolError if they are of different protocols.
    """
    check_same_protocol(scores)
    lines = [f"| metric | {' | '.join(each.model for each in scores)} |", "| --- |" + " --- |" * len(scores)]
    lines += [
        f"| {metric} | {' | '.join(_cell(each.summary.get(metric, {})) for each in scores)} |"
        for metric in scores[0].summary
    ]
    return "\n".join(lines)


def _cell(summary: Mapping[str, float | None]) -> str:
    mean, low, high = (summary.get(key) for key in ("mean", "low", "high"))
    if mean is None:
        return "-"
    return f"{mean:.4g}" if low is None or high is None else f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def _at(names: Iterable[str], known: NDArray[np.bool_]) -> list[str]:
    return [name for name, is_known in zip(names, known, strict=True) if is_known]
