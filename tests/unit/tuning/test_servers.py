"""Which attempts are not launched, or not measured, because the study knows their server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord, Desired, Outcome, StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.frontier import EVERYTHING, NOTHING_NEW, REPEATS, Frontier
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.servers import SameServerError, Servers, objection_of
from optuna_tuner.tuning.setting import Setting, assemble
from optuna_tuner.tuning.trial import describe, outcome_of_trial
from optuna_tuner.values import Cause, Model, Params, Phase, Scalar

MODEL = Model(name="tiny", path="tiny", tokenizer="tiny")
GOOD = Outcome(verdict=Verdict.COMPLETE, values=(7.0,), constraints={"server runs": 0.0}, metrics={"m": 7.0}, level="x")
CRASH = Outcome(verdict=Verdict.PRUNED, constraints={"server runs": 1.0}, cause=Cause.CRASHED, reason="it ended")
TWO = {"itl_ms": {"type": "int", "low": 5, "high": 6}}


def spec(**changes: object) -> StudySpec:
    document: dict[str, object] = {
        "name": "servers",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "flags": {"ttft_ms": 9}},
        "benchmark": {"kind": "http", "scenario": "D(8,4)", "concurrency": [1], "requests": 2},
        "space": TWO,
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
    }
    return StudySpec.model_validate(document | changes)


class Lab:
    """A worker of a study whose servers exist on paper."""

    def __init__(
        self, store: Store, record: StudyRecord, worker: WorkerRecord, folder: Path, **changes: object
    ) -> None:
        made = spec(**changes)
        self.setting = Setting(
            study_id=record.id,
            worker_id=worker.id,
            spec=made,
            parts=assemble(made, InstalledKinds()),
            model=MODEL,
            slot=worker.slot,
            store=store,
        )
        self.store, self._folder, self._numbers = store, folder, iter(range(1000))
        self.servers = Servers(self.setting)
        self.frontier = Frontier(self.setting, self.servers)

    def begin(self, flags: Mapping[str, Scalar], *, baseline: bool = False) -> Journal:
        """An attempt with these parameters that runs; another worker's, once this one has one."""
        worker = self.setting.worker_id
        if self.store.attempts.running(self.setting.study_id):
            worker = self.store.workers.register(
                study_id=self.setting.study_id, slot=self.setting.slot, host="h", boot_id="b", pid=8, pid_start=1.0
            ).id
        attempt = self.store.attempts.claim(self.setting.study_id, worker, baseline=baseline)
        assert attempt is not None
        self.store.attempts.asked(attempt.id, next(self._numbers))
        self.store.attempts.chosen(attempt.id, Params(flags=flags))
        journal = Journal(self.store, self.store.attempts.get(attempt.id), self._folder)
        describe(self.setting, journal)
        return journal

    def end(self, journal: Journal, outcome: Outcome, told: Mapping[str, Scalar] | None = None) -> AttemptRecord:
        journal.effective_config = told or {}
        worker = journal.attempt.worker_id or ""
        assert self.store.attempts.end(journal.attempt.id, worker, journal.complete(outcome), retry=False)
        return self.store.attempts.get(journal.attempt.id)

    def meet(self, journal: Journal) -> Outcome | None:
        """What it ends with instead of being launched."""
        try:
            self.servers.raise_if_asked_before(journal)
            self.servers.raise_if_launched_before(journal)
        except SameServerError as same:
            return same.outcome
        return None

    def resolved(self, journal: Journal, told: Mapping[str, Scalar]) -> Outcome | None:
        """What it ends with when its server tells this."""
        journal.effective_config = told
        try:
            self.servers.raise_if_resolved_before(journal)
        except SameServerError as same:
            return same.outcome
        return None


@pytest.fixture
def lab(store: Store, study: StudyRecord, worker: WorkerRecord, tmp_path: Path) -> Lab:
    store.studies.set_budget(study.id, 100)
    return Lab(store, study, worker, tmp_path)


def test_for_a_known_server_nothing_is_launched(lab: Lab) -> None:
    lab.end(lab.begin({"itl_ms": 6}), GOOD)
    journal = lab.begin({"itl_ms": 6, "slots": 0})
    outcome = outcome_of_trial(lab.setting, journal, lab.servers, lambda _: False, Event())
    assert (outcome.same_as, outcome.verdict, outcome.values) == (0, Verdict.COMPLETE, (7.0,))
    assert outcome.identity == {"ttft_ms": 9.0, "itl_ms": 6.0}
    assert lab.store.ledger.open_all() == ()
    assert set(outcome.phases_s) == {Phase.QUEUE}


def reserved(lab: Lab) -> int:
    return lab.store.studies.by_id(lab.setting.study_id).reserved


@pytest.mark.parametrize("outcome", [GOOD, CRASH], ids=["measured", "crashed"])
def test_the_same_server_ends_as_the_first_one_did_and_gives_its_trial_back(lab: Lab, outcome: Outcome) -> None:
    lab.end(lab.begin({"itl_ms": 6}), outcome, {"itl_ms": 6})
    again = lab.begin({"itl_ms": 6.0, "slots": 0})
    found = lab.meet(again)
    assert found is not None
    assert (found.same_as, found.verdict, found.values, found.cause) == (
        0,
        outcome.verdict,
        outcome.values,
        outcome.cause,
    )
    assert (found.constraints, found.metrics, found.level) == (outcome.constraints, outcome.metrics, outcome.level)
    assert (found.measurements, found.effective_config) == ((), {})
    assert reserved(lab) == 2
    lab.end(again, found)
    assert reserved(lab) == 1


def test_a_repeat_of_a_repeat_names_the_trial_that_was_measured(lab: Lab) -> None:
    lab.end(lab.begin({"itl_ms": 6}), GOOD)
    second = lab.begin({"itl_ms": 6})
    lab.end(second, lab.meet(second) or GOOD)
    third = lab.meet(lab.begin({"itl_ms": 6}))
    assert third is not None
    assert third.same_as == 0


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(verdict=Verdict.FAIL, cause=Cause.NODE_LOST),
        Outcome(verdict=Verdict.FAIL, cause=Cause.CANCELLED),
        Outcome(verdict=Verdict.PRUNED, cause=Cause.PRUNED, values=(1.0,)),
    ],
    ids=["machine", "user", "pruner"],
)
def test_what_was_not_the_configurations_own_end_is_measured_again(lab: Lab, outcome: Outcome) -> None:
    lab.end(lab.begin({"itl_ms": 6}), outcome)
    assert lab.meet(lab.begin({"itl_ms": 6})) is None


@pytest.mark.parametrize(("waited_s", "again"), [(1700.0, True), (1800.0, False)])
def test_what_was_not_ready_in_time_is_tried_again_if_it_gets_more_time_now(
    lab: Lab, waited_s: float, *, again: bool
) -> None:
    late = lab.begin({"itl_ms": 6})
    late.phases_s[Phase.START_UP] = waited_s
    lab.end(late, Outcome(verdict=Verdict.PRUNED, cause=Cause.NOT_READY, constraints={"server runs": 1.0}))
    assert (lab.meet(lab.begin({"itl_ms": 6})) is None) == again


def test_what_was_rejected_stands_for_the_same_question_only(lab: Lab) -> None:
    rejected = Outcome(verdict=Verdict.PRUNED, cause=Cause.REJECTED, constraints={"server runs": 1.0})
    lab.end(lab.begin({"itl_ms": 6}), rejected)
    assert lab.meet(lab.begin({"itl_ms": 6, "slots": 0})) is None
    found = lab.meet(lab.begin({"itl_ms": 6}))
    assert found is not None
    assert (found.cause, found.same_as) == (Cause.REJECTED, 0)


def test_an_outcome_of_an_older_version_that_tells_no_identity_stands_for_nothing(lab: Lab) -> None:
    old = lab.begin({"itl_ms": 6})
    assert lab.store.attempts.end(old.attempt.id, lab.setting.worker_id, GOOD, retry=False)
    assert lab.meet(lab.begin({"itl_ms": 6})) is None


def test_of_two_that_run_the_one_that_was_asked_for_first_goes_on(lab: Lab) -> None:
    first, second = lab.begin({"itl_ms": 6}), lab.begin({"itl_ms": 6})
    assert lab.meet(first) is None
    found = lab.meet(second)
    assert found is not None
    assert (found.verdict, found.cause, found.same_as, found.values) == (Verdict.FAIL, Cause.REPEATED, 0, ())
    lab.end(second, found)
    assert reserved(lab) == 1


def test_a_sampled_default_is_the_baseline_again_and_the_baseline_is_always_measured(lab: Lab) -> None:
    lab.end(lab.begin({}, baseline=True), GOOD)
    found = lab.meet(lab.begin({"itl_ms": 5}))
    assert found is not None
    assert found.same_as == 0


def test_the_baseline_is_measured_also_if_somebody_was_there_before(lab: Lab) -> None:
    baseline = lab.begin({}, baseline=True)
    lab.end(lab.begin({"itl_ms": 5}), GOOD)
    assert lab.meet(baseline) is None


def test_equal_read_backs_make_one_server_of_what_differs_in_flags_that_they_settle(lab: Lab) -> None:
    told = {"itl_ms": 6, "slots": 4}
    lab.end(lab.begin({"itl_ms": 6, "slots": 4}), GOOD, told)
    found = lab.resolved(lab.begin({"itl_ms": 6, "slots": 9}), told)
    assert found is not None
    assert (found.same_as, found.values) == (0, (7.0,))


def test_a_read_back_never_makes_one_server_of_what_differs_in_a_flag_that_it_does_not_tell(lab: Lab) -> None:
    told = {"itl_ms": 6}
    lab.end(lab.begin({"itl_ms": 6, "start_s": 1}), GOOD, told)
    assert lab.resolved(lab.begin({"itl_ms": 6, "start_s": 2}), told) is None
    assert lab.resolved(lab.begin({"itl_ms": 7, "start_s": 1}), {"itl_ms": 7}) is None


def test_an_empty_read_back_shows_nothing(lab: Lab) -> None:
    lab.end(lab.begin({"itl_ms": 6}), GOOD, {})
    assert lab.resolved(lab.begin({"itl_ms": 6}), {}) is None


def test_who_wants_to_measure_again_does(
    store: Store, study: StudyRecord, worker: WorkerRecord, tmp_path: Path
) -> None:
    lab = Lab(store, study, worker, tmp_path, sampler={"measure_again": True})
    lab.end(lab.begin({"itl_ms": 6}), GOOD, {"itl_ms": 6})
    again = lab.begin({"itl_ms": 6})
    assert lab.meet(again) is None
    assert lab.resolved(again, {"itl_ms": 6}) is None
    assert lab.frontier.is_open()


def test_a_space_is_exhausted_when_all_of_its_servers_are_known(lab: Lab) -> None:
    assert lab.frontier.is_open()
    lab.end(lab.begin({"itl_ms": 5}), GOOD)
    assert lab.frontier.is_open()
    lab.end(lab.begin({"itl_ms": 6}), CRASH)
    assert not lab.frontier.is_open()
    lab.frontier.exhaust()
    record = lab.store.studies.by_id(lab.setting.study_id)
    assert (record.desired, record.ended_because, record.budget) == (Desired.STOP, EVERYTHING, 2)


def test_a_study_is_not_declared_exhausted_while_somebody_runs_or_when_its_budget_is_spent(lab: Lab) -> None:
    running = lab.begin({"itl_ms": 6})
    lab.end(lab.begin({"itl_ms": 5}), GOOD)
    assert not lab.frontier.is_open()  # what runs is taken
    lab.frontier.exhaust()
    assert lab.store.studies.by_id(lab.setting.study_id).desired is Desired.RUN
    lab.end(running, GOOD)
    lab.store.studies.set_budget(lab.setting.study_id, 0)
    lab.frontier.exhaust()
    assert lab.store.studies.by_id(lab.setting.study_id).ended_because is None


def test_what_the_machine_failed_is_no_part_of_what_is_known(lab: Lab) -> None:
    lab.end(lab.begin({"itl_ms": 5}), GOOD)
    lab.end(lab.begin({"itl_ms": 6}), Outcome(verdict=Verdict.FAIL, cause=Cause.MACHINE))
    assert lab.frontier.is_open()


def repeat(lab: Lab, flags: Mapping[str, Scalar]) -> None:
    journal = lab.begin(flags)
    found = lab.meet(journal)
    assert found is not None
    lab.end(journal, found)


def test_after_a_repeat_the_next_question_goes_where_nobody_was(lab: Lab) -> None:
    lab.end(lab.begin({"itl_ms": 5}), GOOD)
    assert lab.frontier.away(1) is None
    repeat(lab, {"itl_ms": 5})
    assert lab.frontier.away(2) == Params(flags={"itl_ms": 6})


def test_in_a_space_without_end_many_repeats_in_a_row_end_the_study(
    store: Store, study: StudyRecord, worker: WorkerRecord, tmp_path: Path
) -> None:
    store.studies.set_budget(study.id, 100)
    lab = Lab(store, study, worker, tmp_path, space={"itl_ms": {"type": "float", "low": 1.0, "high": 2.0}})
    lab.end(lab.begin({"itl_ms": 1.5}), GOOD)
    for _ in range(REPEATS):
        assert lab.frontier.is_open()
        repeat(lab, {"itl_ms": 1.5})
    assert not lab.frontier.is_open()
    lab.frontier.exhaust()
    assert lab.store.studies.by_id(study.id).ended_because == NOTHING_NEW


def test_the_sampler_keeps_away_from_what_was_known_at_the_last_look(lab: Lab) -> None:
    objection = objection_of(lab.setting, lab.servers)
    lab.end(lab.begin({"itl_ms": 6}), GOOD)
    lab.begin({"itl_ms": 7})
    assert objection(Params(flags={"itl_ms": 6})) is None
    lab.servers.look()
    assert objection(Params(flags={"itl_ms": 6.0, "slots": 0})) == "the same server as trial 0"
    assert objection(Params(flags={"itl_ms": 7})) == "the same server as trial 1"  # it runs
    assert objection(Params(flags={"itl_ms": 8})) is None
    assert objection(Params(flags={"itl_ms": -1})) == "itl_ms is below zero"


CONDITIONAL = {
    "itl_ms": {"type": "int", "low": 4, "high": 6},
    "slots": {"type": "choice", "choices": [0, 2]},
    "eos_after": {"type": "choice", "choices": [256, 512], "when": {"slots": 2}},
}


@pytest.mark.parametrize("kind", ["tpe", "random", "grid", "nsga2"])
def test_every_sampler_comes_to_an_end_with_each_server_measured_once(
    store: Store, study: StudyRecord, worker: WorkerRecord, tmp_path: Path, kind: str
) -> None:
    store.studies.set_budget(study.id, 100)
    lab = Lab(store, study, worker, tmp_path, space=CONDITIONAL, sampler={"kind": kind, "seed": 1})
    objection = objection_of(lab.setting, lab.servers)
    history = History(store, study, lab.setting.spec, objection, lab.frontier.away)
    while lab.frontier.is_open():
        attempt = store.attempts.claim(study.id, worker.id, baseline=True)
        assert attempt is not None
        lab.servers.look()
        trial, params = history.ask(attempt)
        journal = Journal(store, replace(attempt, number=trial.number, params=params), tmp_path)
        describe(lab.setting, journal)
        lab.end(journal, lab.meet(journal) or GOOD)
        history.tell()
    attempts = store.attempts.of(study.id)
    measured = [each for each in attempts if each.outcome and each.outcome.same_as is None]
    assert len(measured) == reserved(lab) == 9  # three times three; the default has itl_ms 5 and slots 0
    assert len(attempts) <= 2 * len(measured)
