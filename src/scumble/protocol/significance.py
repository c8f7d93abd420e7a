"""Which differences between models are real: paired tests over the pairs of a protocol."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from scumble.protocol.definition import ProtocolError
from scumble.protocol.scores import Scores, Values, bootstrap_interval, check_same_protocol

LEVEL = 0.05


class Comparison(NamedTuple):
    """The difference of a model from a baseline in one metric.

    ``difference`` is the mean over the pairs that both have, model - baseline, with its bootstrap interval;
    ``p_value`` is that of the test alone, ``corrected`` that after the correction for all tests.
    """

    metric: str
    baseline: str
    model: str
    difference: float
    low: float
    high: float
    p_value: float
    corrected: float

    @property
    def is_real(self) -> bool:
        """Whether the difference is more than chance, at 5 % for all tests together."""
        return self.corrected < LEVEL


def paired_tests(scores: Sequence[Scores], seed: int = 0) -> list[Comparison]:
    """Each model against the first one, in every metric of pairs, with Holm's correction over all of these tests.

    Raises: ProtocolError for fewer than two models, or scores of different protocols.
    """
    if len(scores) < 2:
        raise ProtocolError("a comparison needs the scores of two models or more")
    check_same_protocol(scores)
    first, *others = scores
    tests = [
        _test(metric, first, other, seed)
        for metric in first.pair_metrics
        for other in others
        if np.isfinite(other.values(metric) - first.values(metric)).any()
    ]
    corrected = holm([test.p_value for test in tests])
    return [test._replace(corrected=value) for test, value in zip(tests, corrected, strict=True)]


def paired_p_value(differences: Values, contents: Sequence[str], styles: Sequence[str]) -> float:
    """The probability of a mean difference as large as this if neither model were better on other images.

    Pairs that share an image are not independent, so a test over the pairs would find the slightest difference real.
    Here t = mean / sqrt(v_c + v_s) with the variances of the means of the contents and of the styles, each divided by
    their number, and Welch's degrees of freedom: a difference must hold for other photographs and for other paintings.
    A side with a single image says nothing of others and is left out: then it is the paired t-test over the other side;
    without any, the probability is 1.
    Source: Clark 1973, the quasi F-ratio min F' for two crossed random factors,
    https://doi.org/10.1016/S0022-5371(73)80014-3. It is a little too careful.
    """
    sides = []
    for names in (contents, styles):
        _, places = np.unique(names, return_inverse=True)
        means = np.bincount(places, weights=differences) / np.bincount(places)
        if len(means) > 1:
            sides.append((float(means.var(ddof=1) / len(means)), len(means) - 1))
    variance = sum(own for own, _ in sides)
    mean = float(differences.mean())
    if not variance:
        return 1.0 if not sides or not mean else 0.0
    freedom = variance**2 / sum(own**2 / degrees for own, degrees in sides)
    return float(2 * student_t.sf(abs(mean) / math.sqrt(variance), freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values, corrected for so many tests: the chance that any of them is wrong stays below the level.

    Source: Holm 1979, https://www.jstor.org/stable/4615733.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    scaled = (min(1.0, (len(p_values) - rank) * p_values[index]) for rank, index in enumerate(order))
    corrected = [0.0] * len(p_values)
    for index, value in zip(order, itertools.accumulate(scaled, max), strict=True):
        corrected[index] = value
    return corrected


def describe(tests: Sequence[Comparison]) -> str:
    """The tests as a Markdown table."""
    lines = [
        "| metric | model | difference | 95 % interval | p, corrected | real |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {test.metric} | {test.model} - {test.baseline} | {test.difference:+.4g} "
        f"| [{test.low:.4g}, {test.high:.4g}] | {test.corrected:.2g} | {'yes' if test.is_real else 'no'} |"
        for test in tests
    ]
    return "\n".join(lines)


def _test(metric: str, baseline: Scores, model: Scores, seed: int) -> Comparison:
    differences = model.values(metric) - baseline.values(metric)
    known = np.isfinite(differences)
    contents, styles = ([name for name, k in zip(names, known, strict=True) if k] for names in baseline.groups())
    found = differences[known]
    low, high = bootstrap_interval(found, contents, styles, seed)
    p_value = paired_p_value(found, contents, styles)
    return Comparison(metric, baseline.model, model.model, float(found.mean()), low, high, p_value, p_value)
