"""How the metrics of one side changed on the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from optuna_tuner.results.side_by_side import COMPARED, CONFIDENCE, FEWEST_RUNS, Change, Side
from optuna_tuner.results.wording import goal_metrics


def changes(first: Side, second: Side, *, everything: bool) -> Iterator[Change]:
    """Of the metrics that the goals speak of; of all that both have, where everything is wanted."""
    goals = [*goal_metrics(first.study.spec.goals), *goal_metrics(second.study.spec.goals)]
    more = sorted(first.trial.metrics) if everything else []
    for metric in dict.fromkeys([*goals, *more]):
        if metric in COMPARED and first.values(metric) and second.values(metric):
            yield change_of(metric, first.values(metric), second.values(metric))


def change_of(metric: str, first: Sequence[float], second: Sequence[float]) -> Change:
    """The change of a metric between two sets of runs, each in the metric's unit."""
    before, after = fmean(first), fmean(second)
    low, high = _interval(first, second)
    return Change(
        metric=metric,
        first=before,
        second=after,
        runs=(len(first), len(second)),
        share=(after - before) / abs(before) if before else None,
        low=low,
        high=high,
    )


def _interval(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, float | None]:
    from scipy.stats import ttest_ind  # noqa: PLC0415  scipy takes a while to import, and few commands need it

    if min(len(first), len(second)) < FEWEST_RUNS or min(*first, *second) <= 0:
        return None, None
    logs = [math.log(value) for value in second], [math.log(value) for value in first]
    if all(len(set(side)) == 1 for side in logs):  # no noise at all: nothing to infer
        return None, None
    found = ttest_ind(*logs, equal_var=False).confidence_interval(CONFIDENCE)
    return math.expm1(found.low), math.expm1(found.high)
