"""Whose fault was it, and how good was it: measurements or an error become one outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna_tuner.errors import InfrastructureError, TrialError
from optuna_tuner.load_range import LoadRange
from optuna_tuner.search.attained import has_figures, probes_of, reported
from optuna_tuner.search.load import sustained
from optuna_tuner.spec.goals import Goals
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.values import Blame, Cause, Load, Measurement, Metrics

SERVER_RUNS = "server runs"  # the constraint that a failing configuration violates
VIOLATED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a trial is worth: objective values and constraint excesses at its operating point."""

    level: str
    metrics: Metrics
    values: tuple[float, ...]
    constraints: Mapping[str, float]

    @property
    def excess(self) -> float:
        """Sum of the violations; zero when every constraint is kept."""
        return sum(max(0.0, value) for value in self.constraints.values())


def score(goals: Goals, measurements: Sequence[Measurement], sought: LoadRange | None = None) -> Score:
    """Score a trial at its operating point.

    Where the most load was `sought`, that is the load that was found, or the one that breaks the constraints least.
    Else, with `level: best`, it is the load level which is best in the first objective among those that keep every
    constraint, or the one that breaks them least; with `level: mean` each metric is averaged over all levels. A load
    that was measured several times has its mean figures, so that none is best by the luck of one round.
    """
    if sought is not None:
        return _score_of_search(goals, measurements, sought)
    if goals.level == "mean":
        return _score_of(goals, "", _mean([measurement.metrics for measurement in measurements]))
    scores = scores_by_load(goals, measurements).values()
    sign = -1.0 if goals.objectives[0].direction == "maximize" else 1.0
    return min(scores, key=lambda each: (each.excess, sign * each.values[0]))


def scores_by_load(goals: Goals, measurements: Sequence[Measurement]) -> Mapping[Load, Score]:
    """What each load is worth by itself; all of its measurements count, and all must have figures."""
    loads = dict.fromkeys(measurement.load for measurement in measurements)
    return {
        load: _score_of(goals, str(load), _mean([each.metrics for each in measurements if each.load == load]))
        for load in loads
    }


def _score_of(goals: Goals, level: str, metrics: Metrics) -> Score:
    return Score(
        level=level,
        metrics=metrics,
        values=tuple(metrics[objective.metric] for objective in goals.objectives),
        constraints={SERVER_RUNS: 0.0} | {each.name: each.excess(metrics) for each in goals.constraints},
    )


def _score_of_search(goals: Goals, measurements: Sequence[Measurement], sought: LoadRange) -> Score:
    """A load that was measured several times has its mean figures. One at least must have figures."""
    counted = reported(measurements)
    found = sustained(probes_of(goals, counted))
    scores: list[Score] = []
    for load in dict.fromkeys(each.load for each in counted):
        levels = [each.metrics for each in counted if each.load == load]
        if all(has_figures(goals, each) for each in levels) and found in {None, load.value}:
            scores.append(_score_of(goals, str(load), {**_mean(levels), sought.metric: found or 0.0}))
    return min(scores, key=lambda each: each.excess)


def _mean(levels: Sequence[Metrics]) -> Metrics:
    return {name: sum(level[name] for level in levels) / len(levels) for name in levels[0]}


def scored(goals: Goals, measurements: Sequence[Measurement], sought: LoadRange | None = None) -> Outcome:
    """The outcome of a trial that ran to its end; feasible or not."""
    result = score(goals, measurements, sought)
    broken = [name for name, excess in result.constraints.items() if excess > 0]
    return Outcome(
        verdict=Verdict.COMPLETE,
        values=result.values,
        constraints=result.constraints,
        cause=Cause.SLO if broken else None,
        reason=f"breaks {', '.join(broken)}" if broken else "",
        level=result.level,
        metrics=result.metrics,
    )


def pruned(goals: Goals, measurements: Sequence[Measurement]) -> Outcome:
    """The outcome of a trial that the pruner gave up: what was measured stands, the sampler learns from it."""
    result = score(goals, measurements)
    return Outcome(
        verdict=Verdict.PRUNED,
        values=result.values,
        constraints=result.constraints,
        cause=Cause.PRUNED,
        reason=f"behind the trials before it after {len(measurements)} load levels",
        level=result.level,
        metrics=result.metrics,
    )


def all_violated(goals: Goals) -> Mapping[str, float]:
    """The constraints of a configuration that does not run."""
    return dict.fromkeys([SERVER_RUNS, *(constraint.name for constraint in goals.constraints)], VIOLATED)


def failed(goals: Goals, error: TrialError) -> Outcome:
    """The outcome of a trial that failed: PRUNED where the configuration is at fault, FAIL where the machine is.

    A failing configuration violates every constraint: a trial without them would count as feasible, and one that
    was never measured must not look better than one that was.
    """
    if error.cause.blame is Blame.MACHINE or isinstance(error, InfrastructureError):
        return Outcome(
            verdict=Verdict.FAIL,
            cause=error.cause,
            reason=_reason(error),
            exact_advice=error.diagnosis.exact_advice,
        )
    return Outcome(
        verdict=Verdict.PRUNED,
        constraints=all_violated(goals),
        cause=error.cause,
        reason=_reason(error),
        exact_advice=error.diagnosis.exact_advice,
    )


def _reason(error: TrialError) -> str:
    evidence = error.diagnosis.evidence
    return str(error) if evidence in str(error) else f"{error}: {evidence}"


def ended(cause: Cause, reason: str) -> Outcome:
    """The outcome of an attempt that somebody ended: cancelled, interrupted, or its worker died."""
    return Outcome(verdict=Verdict.FAIL, cause=cause, reason=reason)
