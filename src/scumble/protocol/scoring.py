"""The loop of an evaluation: paint the pairs of a protocol, measure each, sum up."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from scumble.protocol.clips import Flicker
from scumble.protocol.definition import Protocol
from scumble.protocol.metrics import (
    CLIP_METRIC,
    MODEL_METRICS,
    PAIR_METRICS,
    SET_METRICS,
    Metric,
    ModelMetric,
    Seen,
    Vectors,
)
from scumble.protocol.painters import Painter
from scumble.protocol.references import References
from scumble.protocol.scores import Scores, summarize


class Measured(NamedTuple):
    """What is known of some pairs: the index of each, the values of the metrics of pairs, the vectors of the others.

    ``clips`` is what is known of some clips, by the indices of the clip and the style.
    """

    pairs: list[int]
    values: dict[str, list[float]]
    vectors: dict[str, Tensor]
    clips: Mapping[tuple[int, int], Flicker] = {}


def batches_of(protocol: Protocol, batch_size: int) -> list[range]:
    """The pairs of a protocol in batches, by index."""
    count = len(protocol.pairs)
    return [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


@torch.inference_mode()
def measure(painter: Painter, references: References, batches: Sequence[range]) -> Measured:
    """Paint and measure some batches of the pairs of a protocol.

    A pair whose stylized image is not finite has NaN for every metric, and vectors of NaN. Pictures are painted in
    batches, but looked at one by one: large layers of one picture take a fifth less time than of four.
    """
    protocol = references.protocol
    measured = Measured([], {}, {})
    vectors: dict[str, list[Tensor]] = {}
    for batch in track(batches, "Measuring", disable=not sys.stderr.isatty()):
        contents, styles = zip(*(protocol.pairs[index] for index in batch), strict=True)
        content, style = references.images("content", contents), references.images("style", styles)
        stylized = painter(batch, content, style)
        measured.pairs.extend(batch)
        for name in protocol.metrics:
            if name in MODEL_METRICS:
                metric = MODEL_METRICS[name]
                found = _of_another_picture(metric, painter, batch, content, style, stylized, protocol.seed)
                measured.values.setdefault(name, []).extend(found.tolist())
        for index, picture in zip(batch, stylized.split(1), strict=True):
            is_finite = bool(picture.isfinite().all())
            seen = Seen(picture if is_finite else torch.full_like(picture, 0.5), references.networks)
            for name in protocol.metrics:
                if name in SET_METRICS:
                    vector = seen.described(SET_METRICS[name].describe)[""].cpu()
                    vectors.setdefault(name, []).append(vector if is_finite else torch.full_like(vector, torch.nan))
                elif name in PAIR_METRICS:
                    value = _of_pair(PAIR_METRICS[name], seen, index, references)
                    measured.values.setdefault(name, []).append(value if is_finite else math.nan)
    measured.vectors.update({name: torch.cat(parts) for name, parts in vectors.items()})
    return measured


def _of_pair(metric: Metric, seen: Seen, pair: int, references: References) -> float:
    """The value of a metric for the stylized image of a pair."""
    content, style = references.protocol.pairs[pair]
    index = content if metric.of == "content" else style
    wanted = references.described(metric.of, metric.describe, index) if metric.of else {}
    return float(metric.distance(seen.described(metric.describe), wanted))


def _of_another_picture(
    metric: ModelMetric,
    painter: Painter,
    batch: range,
    content: Tensor,
    style: Tensor,
    stylized: Tensor,
    seed: int,
) -> Tensor:
    """The values of a metric that compares with what is painted of the changed content; NaN if nothing is."""
    if not painter.paints:
        return torch.full((len(batch),), torch.nan)
    finite = stylized.isfinite().flatten(1).all(dim=1)
    found = metric.compare(painter(batch, metric.change(content, seed), style), stylized)
    return torch.where(finite, found, torch.nan)


def join(parts: Iterable[Measured]) -> Measured:
    """What several processes measured, in the order of the pairs."""
    parts = list(parts)
    clips = {pair: flicker for part in parts for pair, flicker in part.clips.items()}
    parts = [part for part in parts if part.pairs]
    pairs = [index for part in parts for index in part.pairs]
    order = sorted(range(len(pairs)), key=pairs.__getitem__)

    def ordered(values: list[float]) -> list[float]:
        return [values[index] for index in order]

    return Measured(
        ordered(pairs),  # type: ignore[arg-type]
        {name: ordered([value for part in parts for value in part.values[name]]) for name in parts[0].values},
        {name: torch.cat([part.vectors[name] for part in parts])[order] for name in parts[0].vectors},
        clips,
    )


@torch.inference_mode()
def sum_up(
    measured: Measured,
    references: References,
    model: str,
    details: Mapping[str, object],
    strength: float | None = None,
) -> Scores:
    """The scores of all pairs of a protocol."""
    protocol = references.protocol
    contents = [protocol.content[c].name for c, _ in protocol.pairs]
    styles = [protocol.style[s].name for _, s in protocol.pairs]
    summary = {
        name: summarize(np.array(values), contents, styles, protocol.seed) for name, values in measured.values.items()
    }
    notes = {}
    for name, vectors in measured.vectors.items():
        summary[name], note = _of_set(name, vectors, summary, references)
        if note:
            notes[name] = note
    rows: list[dict[str, Any]] = [{"content": c, "style": s} for c, s in zip(contents, styles, strict=True)]
    for name in (name for name in protocol.metrics if name in measured.values):
        for row, value in zip(rows, measured.values[name], strict=True):
            row[name] = _finite(value)
    for name in MODEL_METRICS.keys() & measured.values.keys():
        if not summary[name]["n"]:
            notes[name] = "not measured: it asks a model for further pictures"
    if failed := sum(any(row[name] is None for name in PAIR_METRICS.keys() & row.keys()) for row in rows):
        notes["not finite"] = f"{failed} of {len(rows)} stylized images have a NaN or an infinity, and no scores"
    details = dict(details)
    if CLIP_METRIC in protocol.metrics:
        summary[CLIP_METRIC], notes[CLIP_METRIC], clips = _of_clips(measured.clips, protocol)
        details["clips"] = {protocol.clips[c].name: _finite(f.content) for (c, _), f in measured.clips.items()}
        rows = [row | {CLIP_METRIC: None} for row in rows] + [dict.fromkeys(rows[0]) | clip for clip in clips]
    ordered = {name: summary[name] for name in protocol.metrics}
    return Scores(protocol.id, model, rows, ordered, notes, details, strength)


def _of_clips(
    flickers: Mapping[tuple[int, int], Flicker], protocol: Protocol
) -> tuple[dict[str, float | None], str, list[dict[str, Any]]]:
    """The summary of the metric of clips, what to read it beside, and a row for each clip in each style."""
    found = [flickers[pair] for pair in protocol.clip_pairs]
    clips = [protocol.clips[c].name for c, _ in protocol.clip_pairs]
    styles = [protocol.style[s].name for _, s in protocol.clip_pairs]
    values = np.array([flicker.stylized for flicker in found])
    summary = summarize(values, clips, styles, protocol.seed)
    note = f"the clips themselves have {np.mean([flicker.content for flicker in found]):.3g}"
    if failed := len(found) - int(np.isfinite(values).sum()):
        note += f"; {failed} of {len(found)} have a frame that is not finite, or none that shows anything of the last"
    rows = [
        {"content": clip, "style": style, CLIP_METRIC: _finite(flicker.stylized)}
        for clip, style, flicker in zip(clips, styles, found, strict=True)
    ]
    return summary, note, rows


def _finite(value: float) -> float | None:
    """The value as JSON can hold it."""
    return value if math.isfinite(value) else None


def _of_set(
    name: str, stylized: Tensor, summary: Mapping[str, Mapping[str, float | None]], references: References
) -> tuple[dict[str, float | None], str]:
    """The summary of a metric of all pairs together, and what to beware of."""
    metric, protocol = SET_METRICS[name], references.protocol
    contents, styles = torch.tensor(protocol.pairs).unbind(dim=1)
    known = stylized.isfinite().all(dim=1)
    used, place = styles.unique(return_inverse=True)
    painted = torch.cat([references.described("style", metric.describe, index)[""].cpu() for index in used.tolist()])
    painted_count = int(known.sum())
    nothing: dict[str, float | None] = {"mean": None, "standard_error": None, "low": None, "high": None, "n": 0}
    if painted_count < metric.fewest or len(used) < 2:
        return nothing, (
            f"not measured: it needs {metric.fewest} stylized images and 2 paintings, there are {painted_count} and "
            f"{len(used)}"
        )
    mean = summary[metric.with_metric]["mean"] if metric.with_metric else 0.0
    assert mean is not None
    vectors = Vectors(stylized[known], painted, contents[known], place[known], mean, protocol.seed)
    value = float(metric.compute(vectors))
    note = ""
    if metric.is_biased and (count := min(painted_count, len(used))) <= stylized.shape[1]:
        note = f"biased upwards: {count} different images for features of {stylized.shape[1]} numbers"
    found = nothing | {"mean": value if math.isfinite(value) else None, "n": painted_count}
    return found, note
