"""What measurements say of the SLO: how far each load is from it."""

from __future__ import annotations

from collections.abc import Sequence

from optuna_tuner.metrics import SUSTAINED
from optuna_tuner.search.load import Probe
from optuna_tuner.spec.goals import Constraint, Goals
from optuna_tuner.values import Measurement, Metrics

LEAST = -1.0  # excess: how much better than that a load is says nothing of the next one
FAILED = 2.0  # of a load under which too many requests failed: above what one good measurement of it could make up for


def slo_of(goals: Goals) -> tuple[Constraint, ...]:
    """The constraints that a load must keep; those on the load that is found are the trial's."""
    return tuple(each for each in goals.constraints if each.metric not in SUSTAINED)


def has_figures(goals: Goals, metrics: Metrics) -> bool:
    """Whether a load has all that the goals speak of, and not only the count of its failures."""
    wanted = {each.metric for each in goals.objectives} | {each.metric for each in goals.constraints}
    return wanted <= metrics.keys() | SUSTAINED.keys()


def probes_of(goals: Goals, measurements: Sequence[Measurement]) -> list[Probe]:
    """Each measurement as the search sees it: how far it exceeded its worst constraint."""
    return [Probe(load=each.load.value, excess=_excess(goals, each.metrics)) for each in measurements]


def _excess(goals: Goals, metrics: Metrics) -> float:
    if not has_figures(goals, metrics):
        return FAILED
    return max(LEAST, *(each.excess(metrics) for each in slo_of(goals)))


def reported(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those whose figures count: where another client only looked for the load, and nothing else is there, its own."""
    return [each for each in measurements if not each.probe] or list(measurements)
