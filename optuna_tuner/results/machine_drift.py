"""How much the engine's own default changed while a study ran: the machine's drift, and its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna_tuner.results.best import value_of
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.wording import measured, percent
from optuna_tuner.spec.goals import Objective
from optuna_tuner.store.records import AttemptKind

FEWEST = 2  # measurements between which something can change


def default_runs(trials: Sequence[TrialView]) -> Sequence[TrialView]:
    """Every run of the engine's own default, in the order of their ends."""
    kinds = {AttemptKind.BASELINE, AttemptKind.CONTROL, AttemptKind.CONFIRM}
    ended = [(trial.ended, place) for place, trial in enumerate(trials) if trial.kind in kinds and not trial.params]
    return [trials[place] for at, place in sorted((at, place) for at, place in ended if at is not None)]


def machine_drift(trials: Sequence[TrialView], objectives: Sequence[Objective]) -> str:
    """What the default gave each time, in one sentence; empty where it was measured less than twice."""
    runs, objective = default_runs(trials), objectives[0]
    values = [value for run in runs if (value := value_of(run, 0, objective)) is not None and value > 0]
    if len(values) < FEWEST:
        return ""
    metric = objective.metric
    return (
        f"The default was measured {len(values)} times: {metric} {measured(metric, min(values))} to "
        f"{measured(metric, max(values))}, standard deviation {_deviation(values) * 100:.1f} %; "
        f"the last was {percent(values[-1] / values[0] - 1)} against the first."
    )


def _deviation(values: Sequence[float]) -> float:
    """Relative to the mean."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)) / mean
