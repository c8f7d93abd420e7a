"""The trade-off front: the points that no other point beats in one objective without losing in the other."""

import math
from collections.abc import Sequence
from itertools import groupby


def non_dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each point is on the front, both objectives being the better the lower they are.

    A point is dominated if another one is at least as good in both and better in one. Equal points do not dominate each
    other, and a point that is not finite is on no front.
    """
    finite = (index for index, point in enumerate(points) if all(map(math.isfinite, point)))
    by_first = groupby(sorted(finite, key=lambda index: points[index]), key=lambda index: points[index][0])
    front = [False] * len(points)
    best = math.inf  # the least second objective of all points with a lower first one
    for _, equal in by_first:
        tied = list(equal)
        least = points[tied[0]][1]
        if least < best:
            for index in tied:
                front[index] = points[index][1] == least
            best = least
    return front
