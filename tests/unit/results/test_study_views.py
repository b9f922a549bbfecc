from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from optuna_tuner.results.views import Counts, StudyState, StudyView, study_view
from optuna_tuner.store.records import AttemptRecord, AttemptState, Desired, Outcome
from optuna_tuner.testing.sample_study import BEGAN, SampleStudy
from optuna_tuner.values import Cause

Ended = Callable[[dict[int, Outcome]], StudyView]
NOW = BEGAN + timedelta(hours=1)


def seen(
    sample: SampleStudy, *, desired: Desired = Desired.RUN, running: int = 0, reserved: int = 5, alive: int = 0
) -> StudyView:
    """The sample's first four trials, some of them still running."""
    attempts = _running(sample.attempts[:4], running)
    record = replace(sample.record, desired=desired, reserved=reserved)
    workers = [replace(sample.workers[0], id=str(number), retired=False) for number in range(alive)]
    return study_view(record, sample.spec, attempts, [*sample.workers, *workers], NOW)


def _running(attempts: Sequence[AttemptRecord], count: int) -> list[AttemptRecord]:
    return [
        replace(attempt, state=AttemptState.RUNNING, outcome=None, ended_at=None) if place < count else attempt
        for place, attempt in enumerate(reversed(attempts))
    ]


@pytest.mark.parametrize(
    ("desired", "running", "alive", "state"),
    [
        (Desired.RUN, 0, 0, StudyState.WAITING),
        (Desired.RUN, 0, 1, StudyState.RUNNING),
        (Desired.RUN, 1, 1, StudyState.RUNNING),
        (Desired.PAUSE, 1, 1, StudyState.PAUSING),
        (Desired.PAUSE, 0, 1, StudyState.PAUSED),
        (Desired.STOP, 1, 1, StudyState.STOPPING),
        (Desired.STOP, 0, 0, StudyState.STOPPED),
        (Desired.CANCEL, 1, 1, StudyState.CANCELLING),
        (Desired.CANCEL, 0, 0, StudyState.CANCELLED),
    ],
)
def test_the_state_follows_from_what_is_wanted_and_what_runs(
    sample: SampleStudy, desired: Desired, running: int, alive: int, state: StudyState
) -> None:
    assert seen(sample, desired=desired, running=running, alive=alive).state is state


def test_a_study_is_done_when_its_budget_is_spent_and_nothing_runs(sample: SampleStudy) -> None:
    assert seen(sample, reserved=10, running=1, alive=1).state is StudyState.RUNNING
    assert seen(sample, reserved=10, alive=1).state is StudyState.DONE


def test_counts_say_what_optuna_is_told(study: StudyView) -> None:
    assert study.counts == Counts(complete=8, feasible=6, pruned=2, failed=1, repeated=0, again=0, running=0, queued=0)


def test_causes_are_counted_most_frequent_first(study: StudyView) -> None:
    assert next(iter(study.causes)) is Cause.SLO
    assert study.causes == {
        Cause.SLO: 2,
        Cause.OUT_OF_MEMORY_POOL: 1,
        Cause.REJECTED: 1,
        Cause.PORT_IN_USE: 1,
    }


def test_what_a_log_told_exactly_stands_behind_the_causes_own_advice(sample: SampleStudy, ended: Ended) -> None:
    outcome = sample.attempts[4].outcome
    assert outcome is not None
    study = ended({4: replace(outcome, exact_advice="Lower max_model_len to 384.")})
    assert study.trials[0].advice == "Lower max_model_len to 384."
    general = Cause.OUT_OF_MEMORY_POOL.advice
    assert study.advice(Cause.OUT_OF_MEMORY_POOL) == f"{general} In trial 4: Lower max_model_len to 384."
    assert ended({4: outcome}).advice(Cause.OUT_OF_MEMORY_POOL) == general


def test_the_eta_shares_the_rest_of_the_budget_among_the_living_workers(sample: SampleStudy) -> None:
    view = seen(sample, running=2, reserved=4, alive=2)
    assert view.spent == 2
    assert view.eta_s == 60 * 8 / 2


def test_there_is_no_eta_before_a_trial_ended_or_after_the_study_did(sample: SampleStudy, study: StudyView) -> None:
    assert seen(sample, running=4, reserved=4, alive=1).eta_s is None
    assert study.eta_s is None


def test_time_stands_still_when_a_study_is_done(study: StudyView) -> None:
    assert study.elapsed_s == 11 * 60
