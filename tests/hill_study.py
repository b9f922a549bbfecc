"""Studies on paper in two parameters, whose best is the top of a hill."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import optuna
from optuna.trial import TrialState

from optuna_tuner.search.evidence import KIND
from optuna_tuner.search.outlook import FEWEST
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.samplers import Repeated
from optuna_tuner.search.verdict import SERVER_RUNS
from optuna_tuner.spec.sampler import Sampler
from optuna_tuner.spec.space import Int, Parameter, params_of, suggest
from optuna_tuner.store.records import AttemptKind

SPACE: dict[str, Parameter] = {
    "a": Int(type="int", low=0, high=20),
    "b": Int(type="int", low=0, high=20),
}
PROBLEM = Problem(space=SPACE, sampler=Sampler(seed=1))
ENOUGH = FEWEST + len(SPACE)

Direction = Literal["maximize", "minimize"]
Place = tuple[int, int]
CORNERS: list[Place] = [(0, 0), (0, 20), (20, 0), (20, 20), (10, 0), (0, 10), (20, 10), (10, 20), (5, 5), (15, 5)]
AROUND_THE_PEAK: list[Place] = [(12 + a, 12 + b) for a in (-2, 0, 2) for b in (-2, 0, 2)]


def hill(a: int, b: int) -> float:
    """Its top, at 12 and 12, is 200."""
    return 200.0 * float(np.exp(-((a - 12) ** 2 + (b - 12) ** 2) / 200))


def history(
    places: Iterable[Place], value: Callable[[int, int], float | None] = hill, direction: Direction = "maximize"
) -> optuna.Study:
    """Trials that were told their value; None is a server that did not run."""
    study = optuna.create_study(direction=direction)
    for number, (a, b) in enumerate(places):
        study.sampler = Repeated(params_of(SPACE, {"a": a, "b": b}))
        trial, found = study.ask(), value(a, b)
        suggest(SPACE, trial)
        trial.set_user_attr(KIND, AttemptKind.SEARCH.value if number else AttemptKind.BASELINE.value)
        trial.set_constraint(SERVER_RUNS, float(found is None))
        study.tell(trial, found, state=TrialState.PRUNED if found is None else None)
    return study
