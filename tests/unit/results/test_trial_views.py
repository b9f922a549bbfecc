from __future__ import annotations

from dataclasses import replace

import pytest

from optuna_tuner.results.trials import TrialState, trial_view, trial_views
from optuna_tuner.store.records import AttemptState, Outcome, Verdict
from optuna_tuner.testing.sample_study import SLO, WORKER, SampleStudy
from optuna_tuner.values import Cause, Params, Phase


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome(verdict=Verdict.COMPLETE, values=(1.0,)), TrialState.FEASIBLE),
        (Outcome(verdict=Verdict.COMPLETE, values=(1.0,), constraints={"c": 0.0}), TrialState.FEASIBLE),
        (Outcome(verdict=Verdict.COMPLETE, values=(1.0,), constraints={"c": 0.1}), TrialState.INFEASIBLE),
        (Outcome(verdict=Verdict.COMPLETE, values=(1.0,), cause=Cause.SLO), TrialState.INFEASIBLE),
        (Outcome(verdict=Verdict.COMPLETE, values=(float("inf"),)), TrialState.INFEASIBLE),
        (Outcome(verdict=Verdict.COMPLETE), TrialState.INFEASIBLE),
        (Outcome(verdict=Verdict.PRUNED, cause=Cause.PRUNED), TrialState.PRUNED),
        (Outcome(verdict=Verdict.PRUNED, cause=Cause.BAD_FLAG), TrialState.INFEASIBLE),
        (Outcome(verdict=Verdict.FAIL, cause=Cause.NODE_LOST), TrialState.FAILED),
        (Outcome(verdict=Verdict.FAIL, cause=Cause.CANCELLED), TrialState.STOPPED),
    ],
)
def test_a_trial_is_feasible_only_when_it_ran_and_kept_everything(
    sample: SampleStudy, outcome: Outcome, state: TrialState
) -> None:
    view = trial_view(replace(sample.attempts[1], outcome=outcome))
    assert (view.state, view.feasible) == (state, state is TrialState.FEASIBLE)


def test_a_running_trial_shows_its_phase_and_no_duration(sample: SampleStudy) -> None:
    running = replace(sample.attempts[1], state=AttemptState.RUNNING, phase=Phase.WARM_UP, outcome=None, ended_at=None)
    view = trial_view(running)
    assert (view.state, view.phase, view.duration_s, view.verdict) == (TrialState.RUNNING, Phase.WARM_UP, None, None)


def test_an_ended_trial_says_where_it_ran_how_long_and_what_to_conclude(sample: SampleStudy) -> None:
    view = trial_view(sample.attempts[4], WORKER)
    assert (view.host, view.slot, view.worker, view.duration_s) == ("node-a", "slot-0", "worker-1", 60.0)
    assert view.advice == Cause.OUT_OF_MEMORY_POOL.advice


def test_flags_and_variables_are_shown_together(sample: SampleStudy) -> None:
    attempt = replace(sample.attempts[1], params=Params(flags={"a": 1}, env={"OMP_NUM_THREADS": "4"}))
    assert trial_view(attempt).params == {"a": 1, "OMP_NUM_THREADS": "4"}


def test_trials_are_ordered_by_number_and_those_that_wait_come_last(sample: SampleStudy) -> None:
    waiting = replace(sample.attempts[0], id="q", number=None, state=AttemptState.QUEUED, outcome=None, params=None)
    views = trial_views([waiting, sample.attempts[2], sample.attempts[1]])
    assert [view.number for view in views] == [1, 2, None]
    assert (views[-1].name, views[-1].params) == ("a trial without a number", {})


def test_the_excess_counts_violations_only(sample: SampleStudy) -> None:
    view = trial_view(sample.attempts[3])
    assert view.excess == pytest.approx(900 / 200 - 1)
    assert view.constraints[SLO.name] == view.excess
