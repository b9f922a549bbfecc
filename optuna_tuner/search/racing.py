"""When the load levels that are left of a trial are not worth measuring.

Levels are measured one after another on one warm server, and the highest loads take most of the time. Two things make
the rest useless: a promise that is broken will be broken under more load, too; and a trial that is far behind others at
equal loads will hardly overtake them. Each must be seen at two levels in a row, since one level may be noise, and the
curves of two configurations may cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from optuna_tuner.search.attained import has_figures
from optuna_tuner.search.verdict import Score, score, scores_by_load
from optuna_tuner.spec.goals import Goals
from optuna_tuner.store.records import AttemptKind, AttemptRecord
from optuna_tuner.values import Load, Measurement

IN_A_ROW = 2  # levels
BEHIND = (
    0.2  # of the other's value: with 5 %, where curves cross, the best was given up (docs/reference/leaderboard.md)
)
SEARCHED = {AttemptKind.BASELINE, AttemptKind.FIRST, AttemptKind.SEARCH}

Levels = Sequence[Measurement]


def is_settled(goals: Goals, own: Levels) -> bool:
    """Whether no higher load can be the one that is scored: the last levels all broke an upper bound, at rising load.

    Nothing is lost by that. It says nothing where the mean over all levels is scored.
    """
    last = _last(goals, own)
    if goals.level == "mean" or len(last) < IN_A_ROW:
        return False
    rising = all(one.kind is other.kind and one.value < other.value for one, other in pairwise(last))
    bounds = [each.name for each in goals.constraints if each.at_most is not None]
    return rising and any(all(score.constraints[bound] > 0 for score in last.values()) for bound in bounds)


def is_beaten(goals: Goals, own: Levels, rivals: Iterable[Levels]) -> bool:
    """Whether one rival is better by far at each of the last levels: in every objective, or by keeping the promises."""
    last = _last(goals, own)
    return len(last) == IN_A_ROW and any(_beats(goals, rival, last) for rival in rivals)


def _last(goals: Goals, own: Levels) -> Mapping[Load, Score]:
    """The last levels; none where one of them has no figures."""
    if not all(has_figures(goals, each.metrics) for each in own):
        return {}
    return dict(list(scores_by_load(goals, own).items())[-IN_A_ROW:])


def _beats(goals: Goals, rival: Levels, mine: Mapping[Load, Score]) -> bool:
    theirs = scores_by_load(goals, [each for each in rival if has_figures(goals, each.metrics)])
    return all(load in theirs and _is_far_ahead(goals, theirs[load], own) for load, own in mine.items())


def _is_far_ahead(goals: Goals, one: Score, other: Score) -> bool:
    if one.excess > 0:
        return False
    if other.excess > 0:
        return True
    signs = [1.0 if each.direction == "maximize" else -1.0 for each in goals.objectives]
    leads = zip(signs, one.values, other.values, strict=True)
    return all(sign * (ahead - behind) > BEHIND * abs(ahead) for sign, ahead, behind in leads)


def front(goals: Goals, attempts: Iterable[AttemptRecord]) -> Sequence[Levels]:
    """The levels of the trials that nothing beats so far: of one objective, the best one's."""
    outcomes = [each.outcome for each in attempts if each.kind in SEARCHED and each.outcome is not None]
    feasible = [each for each in outcomes if each.feasible and each.same_as is None and each.measurements]
    return undominated(goals, [each.measurements for each in feasible])


def undominated(goals: Goals, trials: Iterable[Levels]) -> Sequence[Levels]:
    """Those whose score no other one's is as good as in all objectives."""
    signs = [-1.0 if each.direction == "maximize" else 1.0 for each in goals.objectives]
    costs = [
        (tuple(sign * value for sign, value in zip(signs, score(goals, each).values, strict=True)), each)
        for each in trials
    ]
    costs.sort(key=lambda pair: pair[0])
    found: list[tuple[tuple[float, ...], Levels]] = []
    for cost, each in costs:  # who comes later is worse in the first objective, and beats nobody before it
        if not any(all(a <= b for a, b in zip(known, cost, strict=True)) for known, _ in found):
            found.append((cost, each))
    return [each for _, each in found]
