"""What a study's sampler is asked, with what the engine says of its own flags: defaults, and what to expect of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optuna_tuner.contracts import Engine
from optuna_tuner.metrics import is_speed
from optuna_tuner.search.encoding import Estimates, nothing_estimated
from optuna_tuner.search.expectation import Expectation, nothing_expected
from optuna_tuner.search.problem import Problem
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Scalar


def problem_of(spec: StudySpec, engine: Engine, estimates: Estimates = nothing_estimated) -> Problem:
    """A study's, with what is estimated of its configurations."""
    plain = Problem.of(spec, _default(spec, engine))
    return replace(plain, expectation=_expectation(spec, engine), estimates=estimates)


def _default(spec: StudySpec, engine: Engine) -> Mapping[str, Scalar]:
    """Of each sampled flag, where a trial leaves it to the engine; without those that are not known.

    By parameter: the study's fixed flag, else the catalogue's default.
    """
    catalogue = engine.catalogue()
    found: dict[str, Scalar] = {}
    for name, parameter in spec.space.items():
        if parameter.env:
            continue
        if name in spec.fixed_flags:
            found[name] = spec.fixed_flags[name]
            continue
        flag = catalogue.find(engine.canonical(name)) if catalogue else None
        if flag is not None and isinstance(flag.default, bool | int | float | str):
            found[name] = flag.default
    return found


def _expectation(spec: StudySpec, engine: Engine) -> Expectation:
    """What the engine's guide says; nothing of a goal that is no speed, or where the study wants none of it."""
    fast = all(is_speed(objective.metric) for objective in spec.goals.objectives)
    return engine.expects if fast and spec.sampler.expectations else nothing_expected
