"""Optuna's history against our own tables, cut at the worst moments."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from optuna_tuner.results.reading import read_study
from optuna_tuner.search.objection import study_rules
from optuna_tuner.spec.sampler import Pruner
from optuna_tuner.spec.study import Rule, StudySpec
from optuna_tuner.store.records import AttemptRecord, Choice, Outcome, StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.study import create_or_resume
from optuna_tuner.values import Cause, Load, Measurement, Params, Slot

SPEC = StudySpec.model_validate(
    {
        "name": "history",
        "model": {"name": "m"},
        "engine": {"kind": "fake"},
        "benchmark": {"kind": "http"},
        "space": {"a": {"type": "int", "low": 0, "high": 10}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "budget": {"trials": 5},
    }
)
GOOD = Outcome(
    verdict=Verdict.COMPLETE, values=(7.0,), constraints={"server runs": 0.0}, metrics={"output_throughput_tok_s": 7.0}
)
BAD = Outcome(verdict=Verdict.PRUNED, constraints={"server runs": 1.0}, cause=Cause.CRASHED, reason="boom")
LOST = Outcome(verdict=Verdict.FAIL, cause=Cause.WORKER_LOST, reason="gone")
STOPPED = Outcome(verdict=Verdict.FAIL, cause=Cause.STOPPED)


@pytest.fixture
def record(store: Store) -> StudyRecord:
    return create_or_resume(store, SPEC)


@pytest.fixture
def me(store: Store, record: StudyRecord) -> WorkerRecord:
    slot = Slot(name="s", host="h", cores=(0,))
    return store.workers.register(study_id=record.id, slot=slot, host="h", boot_id="b", pid=1, pid_start=1.0)


@pytest.fixture
def claim(store: Store, record: StudyRecord, me: WorkerRecord) -> Callable[[], AttemptRecord]:
    def claimed() -> AttemptRecord:
        attempt = store.attempts.claim(record.id, me.id, baseline=True)
        assert attempt is not None
        return attempt

    return claimed


def trials(store: Store) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="history", storage=store.optuna_storage()).trials


def test_an_outcome_is_told_once_by_whoever_comes_first(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    history, other = History(store, record, SPEC), History(store, record, SPEC)
    attempt = claim()
    history.ask(attempt)
    assert store.attempts.end(attempt.id, me.id, GOOD, retry=False)
    other.tell()
    history.tell()
    (trial,) = trials(store)
    assert (trial.state.name, trial.values, trial.constraints) == ("COMPLETE", [7.0], {"server runs": 0.0})
    assert (trial.user_attrs["kind"], trial.user_attrs["output_throughput_tok_s"]) == ("baseline", 7.0)


def test_a_teller_that_dies_half_way_is_followed_by_one_that_finishes(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    history = History(store, record, SPEC)
    attempt = claim()
    live, _ = history.ask(attempt)
    store.attempts.end(attempt.id, me.id, BAD, retry=False)
    live.set_constraint("server runs", 1.0)  # as far as the first teller came
    live.set_user_attr("cause", "crashed")
    history.tell()
    (trial,) = trials(store)
    assert (trial.state.name, trial.constraints, trial.user_attrs["reason"]) == ("PRUNED", {"server runs": 1.0}, "boom")
    assert store.attempts.untold(record.id) == ()


def test_a_trial_that_optuna_made_and_nobody_noted_is_taken_by_the_next_one(
    store: Store, record: StudyRecord, claim: Callable[[], AttemptRecord]
) -> None:
    optuna.load_study(study_name="history", storage=store.optuna_storage()).ask()  # its worker died here
    attempt = claim()
    History(store, record, SPEC).ask(attempt)
    (mine,) = trials(store)
    assert (mine.state.name, mine.number) == ("RUNNING", 0)
    assert store.attempts.by_number(record.id, 0).id == attempt.id


def test_a_configuration_that_a_user_put_into_optunas_queue_is_for_a_search_only(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    optuna.load_study(study_name="history", storage=store.optuna_storage()).enqueue_trial({"a": 9})
    history, baseline = History(store, record, SPEC), claim()
    assert history.ask(baseline)[1] == Params()
    store.attempts.end(baseline.id, me.id, GOOD, retry=False)
    assert history.ask(claim())[1] == Params(flags={"a": 9})


def test_who_made_our_study_may_die_before_optunas_is_made(store: Store) -> None:
    spec = SPEC.model_copy(update={"name": "half"})
    record = store.studies.add(name="half", spec_json=spec.model_dump_json(), space_hash=spec.space_hash(), budget=5)
    worker = store.workers.register(
        study_id=record.id, slot=Slot(name="s", host="h"), host="h", boot_id="b", pid=1, pid_start=1.0
    )
    attempt = store.attempts.claim(record.id, worker.id, baseline=True)
    assert attempt is not None
    assert History(store, record, spec).ask(attempt)[0].number == 0
    study = optuna.load_study(study_name="half", storage=store.optuna_storage())
    assert (study.direction.name, study.metric_names) == ("MAXIMIZE", ["output_throughput_tok_s"])


def test_the_same_parameters_are_tried_again_as_a_trial_of_their_own(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    history = History(store, record, SPEC)
    baseline = claim()
    history.ask(baseline)
    store.attempts.end(baseline.id, me.id, GOOD, retry=False)
    first = claim()
    _, params = history.ask(first)
    store.attempts.end(first.id, me.id, LOST, retry=True)
    history.tell()
    again = claim()
    _, repeated = history.ask(again)
    assert (again.retry_of, repeated) == (first.id, params)
    _, failed, running = trials(store)
    assert (failed.state.name, running.state.name) == ("FAIL", "RUNNING")
    assert (running.params, running.user_attrs["retry_of"]) == (failed.params, 1)
    assert store.studies.by_id(record.id).reserved == 2


def not_above_three(params: Params) -> str | None:
    return f"a is {params.flags['a']}" if int(params.flags["a"]) > 3 else None


def test_what_was_passed_over_is_kept_once_with_the_trial(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    spec = SPEC.model_copy(update={"sampler": SPEC.sampler.model_copy(update={"kind": "random", "seed": 1})})
    history = History(store, record, spec, not_above_three)
    store.attempts.end(claim().id, me.id, LOST, retry=False)  # the baseline
    for _ in range(4):
        attempt = claim()
        _, params = history.ask(attempt)
        assert int(params.flags["a"]) <= 3
        assert History(store, record, spec, not_above_three).ask(attempt)[1] == params  # its reply was lost
        store.attempts.end(attempt.id, me.id, GOOD, retry=False)
    history.tell()
    choices = store.events.choices(record.id)
    assert choices
    for trial in read_study(store, record).trials:
        told = trials(store)[trial.number].user_attrs if trial.number is not None else {}
        assert trial.choice == choices.get(trial.attempt_id, Choice())
        assert told.get("passed_over", 0) == trial.choice.passed_over
        assert tuple(told.get("objections", ())) == trial.choice.objections


def test_a_repaired_configuration_says_from_what_to_what_and_optuna_holds_what_was_launched(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    wide = {"a": {"type": "int", "low": 1, "high": 10}, "b": {"type": "int", "low": 1, "high": 10**6}}
    spec = StudySpec.model_validate(SPEC.model_dump() | {"space": wide, "sampler": {"seed": 1}})
    history = History(store, record, spec, study_rules(spec.model_copy(update={"rules": (Rule(forbid="b > a"),)})))
    store.attempts.end(claim().id, me.id, LOST, retry=False)  # the baseline
    attempt = claim()
    _, params = history.ask(attempt)
    trial, choice = trials(store)[-1], store.events.choices(record.id)[attempt.id]
    assert trial.params == params.flags
    assert trial.params["b"] == trial.params["a"]
    assert choice.repaired["b"][1] == trial.params["b"] < choice.repaired["b"][0]
    assert trial.user_attrs["repaired"] == {"b": list(choice.repaired["b"])}
    assert trial.user_attrs["passed_over"] == choice.passed_over


def test_a_trial_that_a_user_failed_in_the_dashboard_stays_failed(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    history = History(store, record, SPEC)
    attempt = claim()
    live, _ = history.ask(attempt)
    live.study.tell(live, state=optuna.trial.TrialState.FAIL)
    store.attempts.end(attempt.id, me.id, GOOD, retry=False)
    history.tell()
    assert trials(store)[0].state.name == "FAIL"


def test_a_try_that_was_interrupted_before_it_was_asked_loses_no_parameters(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord]
) -> None:
    history = History(store, record, SPEC)
    store.attempts.end(claim().id, me.id, LOST, retry=False)  # the baseline
    first = claim()
    _, params = history.ask(first)
    store.attempts.end(first.id, me.id, LOST, retry=True)
    store.attempts.end(claim().id, me.id, STOPPED, retry=True, count_try=False)
    history.ask(claim())
    assert [trial.params for trial in trials(store)] == [params.flags, params.flags]


class Blip:
    """An Optuna storage whose next report meets a database that is busy for a moment."""

    def __init__(self, storage: optuna.storages.BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report, self.met = storage.set_trial_intermediate_value, 0
        monkeypatch.setattr(storage, "set_trial_intermediate_value", self)

    def __call__(self, trial_id: int, step: int, value: float) -> None:
        self.met += 1
        if self.met == 1:
            raise OperationalError("INSERT", {}, BusyError(), connection_invalidated=True)
        self.report(trial_id, step, value)


class BusyError(Exception):
    """What a driver raises."""


def test_a_database_that_is_away_for_a_moment_costs_no_trial_between_two_load_levels(
    store: Store,
    record: StudyRecord,
    claim: Callable[[], AttemptRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = History(store, record, SPEC.model_copy(update={"pruner": Pruner(kind="median")}))
    attempt = claim()
    trial, _ = history.ask(attempt)
    journal = Journal(store, attempt, tmp_path)
    journal.keep(Measurement(load=Load(value=1), metrics={"output_throughput_tok_s": 7.0}))
    blip = Blip(trial.storage, monkeypatch)
    history.give_up(trial)(journal)
    assert (blip.met, trials(store)[0].intermediate_values) == (2, {1: 7.0})


def test_in_a_race_a_trial_ends_when_it_is_settled_is_given_up_when_it_is_beaten_and_the_default_runs_to_its_end(
    store: Store, record: StudyRecord, me: WorkerRecord, claim: Callable[[], AttemptRecord], tmp_path: Path
) -> None:
    goals = SPEC.model_dump()["goals"] | {"constraints": [{"metric": "ttft_ms.p99", "at_most": 500.0}]}
    spec = StudySpec.model_validate(SPEC.model_dump() | {"goals": goals, "pruner": {"kind": "racing"}})
    history = History(store, record, spec)

    def level(load: int, speed: float, ttft: float = 100.0) -> Measurement:
        return Measurement(load=Load(value=load), metrics={"output_throughput_tok_s": speed, "ttft_ms.p99": ttft})

    def raced(attempt: AttemptRecord, *levels: Measurement) -> tuple[bool, Journal]:
        trial, _ = history.ask(attempt)
        journal = Journal(store, attempt, tmp_path)
        for each in levels:
            journal.keep(each)
        return history.give_up(trial)(journal), journal

    default = claim()
    assert not raced(default, level(1, 9, 600), level(2, 9, 600))[0]
    kept = replace(GOOD, measurements=(level(1, 10), level(2, 20)))
    assert store.attempts.end(default.id, me.id, kept, retry=False)
    attempt = claim()
    is_settled, journal = raced(attempt, level(1, 10), level(2, 20, 600), level(4, 30, 700))
    assert is_settled
    assert journal.remarks == ("no more load was measured after 3 levels: the last two broke the same promise",)
    assert store.attempts.end(attempt.id, me.id, BAD, retry=False)
    with pytest.raises(optuna.TrialPruned):
        raced(claim(), level(1, 7), level(2, 15))


def test_all_who_start_the_same_new_study_at_once_share_it(store: Store) -> None:
    together = Barrier(6)

    def start(_: int) -> str:
        with Store.open(store.url) as own:
            together.wait()
            return create_or_resume(own, SPEC).id

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(start, range(6)))) == 1


@pytest.mark.parametrize("again", [False, True], ids=["the sampler's choice", "a repeated configuration"])
def test_a_trial_whose_worker_died_before_it_was_linked_is_told_when_the_study_is_at_rest(
    store: Store, record: StudyRecord, me: WorkerRecord, *, again: bool
) -> None:
    history = History(store, record, SPEC)
    attempt = store.attempts.claim(record.id, me.id, baseline=False)
    assert attempt is not None
    if again:
        history.ask(attempt)
        store.attempts.end(attempt.id, me.id, LOST, retry=True)
        attempt = store.attempts.claim(record.id, me.id, baseline=False)
        assert attempt is not None
    optuna.load_study(study_name=SPEC.name, storage=store.optuna_storage()).ask()
    store.attempts.end(attempt.id, me.id, LOST, retry=False)

    history.settle()
    history.settle()

    attempts = {each.number: each for each in store.attempts.of(record.id)}
    trials = optuna.load_study(study_name=SPEC.name, storage=store.optuna_storage()).trials
    assert [trial.state for trial in trials] == [optuna.trial.TrialState.FAIL] * (1 + again)
    assert sorted(number for number in attempts if number is not None) == [trial.number for trial in trials]
    assert all(each.told for each in attempts.values())
    if again:
        assert trials[0].params == trials[1].params


def test_a_trial_that_somebody_else_asked_optuna_for_is_left_alone(store: Store, record: StudyRecord) -> None:
    study = optuna.load_study(study_name=SPEC.name, storage=store.optuna_storage())
    study.ask()

    History(store, record, SPEC).settle()

    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.RUNNING]
