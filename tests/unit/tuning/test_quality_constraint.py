"""What Optuna is told of a trial's answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optuna_tuner.errors import DriftedError, ServerCrashedError
from optuna_tuner.search.verdict import ended, failed, scored
from optuna_tuner.spec.goals import Constraint, Goals, Objective
from optuna_tuner.spec.quality import Quality
from optuna_tuner.spec.space import Int
from optuna_tuner.spec.study import ModelSpec, Part, StudySpec
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.tuning.quality import excess, guarded
from optuna_tuner.values import Answer, Cause, Drift, Load, Measurement, Reference

GOALS = Goals(
    objectives=(Objective(metric="score", direction="maximize"),),
    constraints=(Constraint(metric="ttft_ms.p99", at_most=100),),
)
QUALITY = Quality(agreement_at_least=0.8, logprob_drift_at_most=0.1)
SPEC = StudySpec(
    name="s",
    model=ModelSpec(name="m"),
    engine=Part(kind="vllm"),
    benchmark=Part(kind="http"),
    space={"x": Int(type="int", low=1, high=2)},
    goals=GOALS,
    quality=QUALITY,
)
RAN = scored(GOALS, [Measurement(load=Load(value=1), metrics={"score": 1.0, "ttft_ms.p99": 50.0})])
REFERENCE = Reference(prompts=("Why?",), answers=(Answer(text="So."),))


def far(agreement: float, nats: float | None = None) -> Drift:
    return Drift(by_prompt=(agreement,), logprob_drift=nats)


@pytest.mark.parametrize(
    ("drift", "expected"),
    [
        (far(1.0), -0.25),
        (far(0.8), 0.0),
        (far(0.4), 0.5),
        (far(1.0, 0.05), -0.25),
        (far(1.0, 0.15), 0.5),
        (far(0.0, 0.15), 1.0),
    ],
)
def test_the_violation_is_relative_to_the_bound_that_is_broken_more(drift: Drift, expected: float) -> None:
    assert excess(QUALITY, drift) == pytest.approx(expected)


def test_a_candidate_that_answers_alike_keeps_the_constraint_by_so_much() -> None:
    outcome = guarded(SPEC, replace(RAN, drift=far(0.9)))
    assert list(outcome.constraints) == ["server runs", "quality", "ttft_ms.p99 <= 100"]
    assert outcome.constraints["quality"] == pytest.approx(-0.125)


def test_who_was_not_asked_keeps_it_and_so_does_the_baseline_whatever_its_noise() -> None:
    assert guarded(SPEC, RAN).constraints["quality"] == 0.0
    assert guarded(SPEC, replace(RAN, drift=far(0.1), reference=REFERENCE)).constraints["quality"] == 0.0


def test_a_drifted_candidate_ran_and_violates_it_by_the_measured_share() -> None:
    outcome = guarded(SPEC, replace(failed(GOALS, DriftedError("far")), drift=far(0.4)))
    assert (outcome.verdict, outcome.cause) == (Verdict.PRUNED, Cause.QUALITY)
    assert outcome.constraints == {"server runs": 0.0, "quality": pytest.approx(0.5), "ttft_ms.p99 <= 100": 1.0}


def test_a_crash_violates_it_like_every_other_constraint() -> None:
    outcome = guarded(SPEC, replace(failed(GOALS, ServerCrashedError("exit 1")), drift=far(1.0)))
    assert set(outcome.constraints.values()) == {1.0}
    assert "quality" in outcome.constraints


def test_what_optuna_does_not_learn_from_has_no_constraint() -> None:
    stopped: Outcome = ended(Cause.STOPPED, "asked to")
    assert guarded(SPEC, stopped) == stopped


def test_a_study_without_the_section_has_the_constraints_of_old() -> None:
    assert guarded(SPEC.model_copy(update={"quality": None}), RAN) == RAN
