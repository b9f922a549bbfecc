"""A trial that is measured again: how often, and whether it gives the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from gates import BOTH, METRIC, TTFT
from paper_study import PaperStudy, gave, paper_spec

from optuna_tuner.search.rerunning import Agreement, Rerunning, rerun_result
from optuna_tuner.store.records import AttemptKind, Extra, Outcome, Verdict
from optuna_tuner.values import Cause, Params

OUT_OF_MEMORY = Outcome(verdict=Verdict.PRUNED, cause=Cause.OUT_OF_MEMORY_POOL)
CRASHED = Outcome(verdict=Verdict.PRUNED, cause=Cause.CRASHED)


def rerun(
    now: Sequence[float | Outcome], then: Sequence[float], cause: str = "", **more: object
) -> tuple[PaperStudy, Rerunning]:
    """`more` are figures of then by metric, and sections of the study."""
    figures = more.pop("figures", {METRIC: list(then)} if then else {})
    section = {"study": "old", "trial": 7, "times": len(now), "figures": figures, "cause": cause}
    spec = paper_spec(first=[{"x": 1}], rerun=section, **more)  # type: ignore[arg-type]  # as given
    left = list(now)

    def measure(params: Params) -> Outcome:
        assert params == spec.first_params[0]
        value = left.pop(0)
        return value if isinstance(value, Outcome) else gave(value)

    study = PaperStudy(spec, measure)
    study.run(Extra(kind=AttemptKind.FIRST, params=spec.first_params[0]))
    study.confirm()
    found = rerun_result(spec, study.attempts)
    assert found is not None
    return study, found


@pytest.mark.parametrize(
    ("now", "then", "agreement"),
    [
        ([100.0, 100.1, 99.9], [100.0], Agreement.SAME),
        ([104.0, 100.0, 97.0], [102.0], Agreement.NOISE),
        ([120.0, 121.0, 119.5], [100.0], Agreement.DIFFERENT),
        ([80.0, 81.0, 79.5], [100.0, 101.0, 99.0], Agreement.DIFFERENT),
        ([100.6, 100.6, 100.6], [100.0], Agreement.SAME),  # it differs, and not by what counts
        ([CRASHED, CRASHED], [100.0], Agreement.DIFFERENT),
        ([CRASHED, 100.0], [100.0], Agreement.UNKNOWN),
    ],
)
def test_figures_of_now_are_held_against_those_of_then(
    now: list[float | Outcome], then: list[float], agreement: Agreement
) -> None:
    assert rerun(now, then)[1].agreement is agreement


@pytest.mark.parametrize(
    ("ttft_ms", "agreement"),
    [
        ([50.0, 50.05, 49.95], Agreement.SAME),
        ([50.0, 52.0, 48.0], Agreement.NOISE),
        ([60.0, 60.5, 59.8], Agreement.DIFFERENT),
    ],
)
def test_every_objective_must_agree(ttft_ms: list[float], agreement: Agreement) -> None:
    now = [gave(speed, late) for speed, late in zip((100.0, 100.1, 99.9), ttft_ms, strict=True)]
    found = rerun(now, [100.0], figures={METRIC: [100.0], TTFT: [50.0]}, goals={"objectives": BOTH})[1]
    assert found.agreement is agreement
    assert all(found.shifts)


@pytest.mark.parametrize(
    ("now", "agreement"),
    [
        ([OUT_OF_MEMORY, OUT_OF_MEMORY], Agreement.SAME),
        ([OUT_OF_MEMORY, CRASHED], Agreement.DIFFERENT),
        ([100.0, 100.0], Agreement.DIFFERENT),
    ],
)
def test_what_failed_then_agrees_when_it_fails_for_the_same_cause(
    now: list[float | Outcome], agreement: Agreement
) -> None:
    assert rerun(now, (), "out_of_memory_pool")[1].agreement is agreement


def test_a_trial_is_measured_as_often_as_was_asked_for() -> None:
    study, found = rerun([100.0, 100.0, 100.0], [100.0])
    assert [each.kind for each in study.attempts] == [AttemptKind.FIRST, AttemptKind.RERUN, AttemptKind.RERUN]
    assert len(found.runs) == 3


def test_while_runs_are_to_come_nothing_is_said() -> None:
    study, _ = rerun([100.0, 100.0, 100.0], [100.0])
    early = rerun_result(study.spec, study.attempts[:2])
    assert early is not None
    assert early.agreement is None
