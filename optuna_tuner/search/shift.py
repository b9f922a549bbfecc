"""How a figure moved between two sets of runs that were not measured side by side: then and now.

Student's interval of the difference of two means of logarithms, with the noise of both taken together. It needs noise
on one side only: a single run of then is judged by how far runs of now lie apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.search.gain import share_of, student


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """As a share of then: -0.05 is 5 % worse, whatever the direction. `low` and `high` hold it."""

    share: float
    low: float
    high: float


def logs(values: Sequence[float]) -> Sequence[float] | None:
    """Natural logarithms; None where one value is not above zero."""
    return None if any(value <= 0 for value in values) else [math.log(value) for value in values]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Sequence[float] | None:
    """Of pairs, place by place, as logarithms; None where one value is not above zero."""
    above, below = logs(ours), logs(theirs)
    if above is None or below is None:
        return None
    return [one - other for one, other in zip(above, below, strict=True)]


def shift_of(
    then: Sequence[float] | None, now: Sequence[float] | None, *, maximize: bool, confidence: float
) -> Shift | None:
    """Between logarithms of then and of now; None where they are missing, or are one of each.

    `confidence` is of the interval with both its ends.
    """
    if not then or not now or len(then) + len(now) <= 2:  # noqa: PLR2004  no degree of freedom is left
        return None
    means = [math.fsum(side) / len(side) for side in (then, now)]
    squares = (math.fsum((value - mean) ** 2 for value in side) for side, mean in zip((then, now), means, strict=True))
    freedom = len(then) + len(now) - 2
    error = math.sqrt(math.fsum(squares) / freedom * (1 / len(then) + 1 / len(now)))
    moved, half = means[1] - means[0], student(confidence, freedom) * error
    low, high = sorted(share_of(each, maximize=maximize) for each in (moved - half, moved + half))
    return Shift(share=share_of(moved, maximize=maximize), low=low, high=high)
