"""Views of the sample study, as the unit tests of the results read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.spec.goals import Objective
from optuna_tuner.store.records import AttemptRecord, Outcome
from optuna_tuner.testing.sample_study import BEGAN, LATENCY, THROUGHPUT, SampleStudy, sample_study

Ended = Callable[[dict[int, Outcome]], StudyView]


def view_of(sample: SampleStudy, attempts: Sequence[AttemptRecord] | None = None) -> StudyView:
    chosen = sample.attempts if attempts is None else attempts
    return study_view(sample.record, sample.spec, chosen, sample.workers, BEGAN + timedelta(hours=1))


@pytest.fixture
def sample() -> SampleStudy:
    return sample_study()


@pytest.fixture
def study(sample: SampleStudy) -> StudyView:
    return view_of(sample)


@pytest.fixture
def two_objectives() -> StudyView:
    return view_of(sample_study(objectives=(THROUGHPUT, LATENCY)))


@pytest.fixture
def ended(sample: SampleStudy) -> Ended:
    """A view of only these trials of the sample, with these endings instead of their own."""

    def make(outcomes: dict[int, Outcome]) -> StudyView:
        chosen = [replace(sample.attempts[number], outcome=outcome) for number, outcome in outcomes.items()]
        return view_of(sample, chosen)

    return make


@pytest.fixture
def latency_study() -> Callable[[Objective], StudyView]:
    return lambda objective: view_of(sample_study(objectives=(objective,)))
