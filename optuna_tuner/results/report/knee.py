"""Where a curve bends: the load from which more load gives little more throughput, or costs much latency.

Kneedle: V. Satopaa, J. Albrecht, D. Irwin, B. Raghavan, "Finding a 'Kneedle' in a Haystack", ICDCS workshops 2011. No
spline is laid through the points: a sweep has few of them, and each is the mean of many requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

SENSITIVITY = 1.0  # the paper's S: how far the curve must fall back from its bend, in mean distances of the loads
FEWEST = 3  # points; a line through two bends nowhere
FLAT = 0.1  # of the largest value: a curve that changes by less than that does not rise, its shape is noise


class Shape(StrEnum):
    """How a rising curve bends."""

    FLATTENS = "flattens"  # throughput: concave
    STEEPENS = "steepens"  # latency: convex


def knee(loads: Sequence[float], values: Sequence[float], shape: Shape) -> float | None:
    """The load at which the curve bends; None where it does not, or where nothing can be said. Loads must rise."""
    if len(loads) < FEWEST or not max(values) - min(values) > FLAT * abs(max(values)):
        return None
    xs, ys = _to_unit(loads), _to_unit(values)
    if shape is Shape.STEEPENS:  # turned by half a turn it flattens
        xs, ys = [1 - x for x in reversed(xs)], [1 - y for y in reversed(ys)]
    found = _first_bend([y - x for x, y in zip(xs, ys, strict=True)])
    if found is None:
        return None
    return loads[found] if shape is Shape.FLATTENS else loads[len(loads) - 1 - found]


def _to_unit(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) for value in values]


def _first_bend(above: Sequence[float]) -> int | None:
    """The first local maximum of the distance from the diagonal after which that falls below the maximum's threshold.

    The mean distance of neighbours is 1 / (points - 1) once the loads are scaled.
    """
    fall = SENSITIVITY / (len(above) - 1)
    top = None
    for place in range(1, len(above)):
        rises = above[place] > above[place - 1]
        if rises and (place + 1 == len(above) or above[place] >= above[place + 1]):
            top = place
        if top is not None and above[place] < above[top] - fall:
            return top
    return None
