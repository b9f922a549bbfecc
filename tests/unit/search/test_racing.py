"""When the load levels that are left of a trial are not worth measuring."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from paper_study import DEFAULT, gave

from optuna_tuner import Search
from optuna_tuner.search.evidence import evidence_of
from optuna_tuner.search.racing import front, is_beaten, is_settled, undominated
from optuna_tuner.spec.goals import Goals
from optuna_tuner.store.attempt_rows import queued
from optuna_tuner.store.records import AttemptKind, AttemptRecord, Outcome
from optuna_tuner.values import Load, LoadKind, Measurement

SPEED = {"metric": "output_throughput_tok_s", "direction": "maximize"}
TTFT = {"metric": "ttft_ms.p99", "direction": "minimize"}
ONE = Goals.model_validate({"objectives": [SPEED], "constraints": [{"metric": "ttft_ms.p99", "at_most": 500}]})
TWO = Goals.model_validate({"objectives": [SPEED, TTFT]})


def level(load: float, speed: float, ttft: float = 100.0) -> Measurement:
    metrics = {"output_throughput_tok_s": speed, "ttft_ms.p99": ttft}
    return Measurement(load=Load(kind=LoadKind.CONCURRENCY, value=load), metrics=metrics)


def levels(*speeds: float, ttft: float = 100.0) -> list[Measurement]:
    return [level(2**place, speed, ttft) for place, speed in enumerate(speeds)]


@pytest.mark.parametrize(
    ("measured", "settled"),
    [
        ([level(1, 9), level(2, 9, 600), level(4, 9, 900)], True),
        ([level(1, 9, 600), level(2, 9, 600)], True),
        ([level(1, 9), level(2, 9, 600)], False),  # one level may be noise
        ([level(1, 9, 600), level(2, 9, 400)], False),
        ([level(4, 9, 600), level(2, 9, 600)], False),  # the load falls: a lower one may keep it
        ([], False),
    ],
)
def test_two_broken_levels_at_rising_load_settle_a_trial(measured: list[Measurement], settled: bool) -> None:  # noqa: FBT001  a parameter of the test
    assert is_settled(ONE, measured) is settled


def test_a_mean_over_all_levels_and_a_lower_bound_settle_nothing() -> None:
    broken = [level(1, 9, 600), level(2, 9, 600)]
    assert not is_settled(ONE.model_copy(update={"level": "mean"}), broken)
    least = Goals.model_validate({"objectives": [TTFT], "constraints": [{"metric": SPEED["metric"], "at_least": 50}]})
    assert not is_settled(least, broken), "more load gives more tokens"


@pytest.mark.parametrize(
    ("own", "beaten"),
    [
        (levels(10, 70, 150), True),
        (levels(10, 70), False),  # the first level was level
        (levels(7, 75), True),
        (levels(7, 85), False),
        (levels(7), False),
        ([level(1, 10, 600), level(2, 100, 600)], True),  # the rival keeps what it breaks
        ([level(3, 1), level(5, 1)], False),  # at other loads nothing can be said
    ],
)
def test_far_behind_at_two_levels_in_a_row_a_trial_is_beaten(own: list[Measurement], beaten: bool) -> None:  # noqa: FBT001  a parameter of the test
    assert is_beaten(ONE, own, [levels(10, 100, 200)]) is beaten


def test_who_breaks_a_promise_there_beats_nobody() -> None:
    assert not is_beaten(ONE, levels(1, 1), [levels(10, 100, ttft=600)])


def test_with_several_goals_one_rival_must_be_ahead_in_all_of_them() -> None:
    fast, soon = levels(100, 200, ttft=400), levels(10, 20, ttft=40)
    assert not is_beaten(TWO, levels(50, 100, ttft=100), [fast, soon]), "between both is a place of its own"
    assert not is_beaten(TWO, levels(90, 180, ttft=450), [fast, soon]), "behind by less than the noise"
    assert is_beaten(TWO, levels(50, 100, ttft=600), [fast, soon])
    assert not is_beaten(TWO, [level(1, 5, 600), level(2, 190, 600)], [fast, levels(10, 80, ttft=40)]), "not at both"


def test_rivals_are_those_that_nothing_beats() -> None:
    slow, fast, soon = levels(10, 20), levels(100, 200, ttft=400), levels(10, 20, ttft=40)
    assert undominated(ONE, [slow, fast]) == [fast]
    assert undominated(TWO, [slow, soon, fast]) == [fast, soon]


def test_what_failed_was_measured_again_or_runs_is_no_rival() -> None:
    def attempt(kind: AttemptKind, outcome: Outcome | None) -> AttemptRecord:
        return replace(queued("a", "s", kind, DEFAULT), outcome=outcome)

    def measured(speed: float, **excesses: float) -> Outcome:
        return replace(gave(speed, **excesses), measurements=tuple(levels(speed)))

    attempts = [
        attempt(AttemptKind.BASELINE, measured(10)),
        attempt(AttemptKind.SEARCH, measured(99, slo=0.5)),
        attempt(AttemptKind.CONFIRM, measured(98)),
        attempt(AttemptKind.SEARCH, None),
    ]
    assert front(ONE, attempts) == [tuple(levels(10))]


def test_what_was_given_up_teaches_its_values_and_is_never_the_best() -> None:
    space = {"x": {"type": "int", "low": 0, "high": 9}}
    search = Search(space, {"objectives": [SPEED, TTFT]}, seed=1)
    first, second = search.ask(), search.ask()
    search.tell(first.number, {"output_throughput_tok_s": 10.0, "ttft_ms.p99": 50.0})
    search.tell(second.number, {"output_throughput_tok_s": 99.0, "ttft_ms.p99": 5.0}, given_up=True)
    assert [each.number for each in search.best()] == [first.number]
    known = evidence_of(search._trials.study, search._space, {})
    assert [(each.ran, each.values) for each in known] == [(True, (10.0, -50.0)), (True, (99.0, -5.0))]
    assert search._trials.study.trials[second.number].state is optuna.trial.TrialState.PRUNED
