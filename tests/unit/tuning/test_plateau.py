"""When a search ends because the trials left are not worth what they cost."""

from __future__ import annotations

import pytest

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.search.outlook import FEWEST, PATIENCE
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord, Desired, Outcome, StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.plateau import Plateau, reason
from optuna_tuner.tuning.servers import Servers
from optuna_tuner.tuning.setting import Setting, assemble
from optuna_tuner.values import Model, Slot

MODEL = Model(name="tiny", path="tiny", tokenizer="tiny")
ENOUGH = FEWEST + 1 + PATIENCE - 1  # one parameter


def spec(**budget: object) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "level",
            "model": {"name": "tiny"},
            "engine": {"kind": "fake"},
            "benchmark": {"kind": "http", "scenario": "D(8,4)", "concurrency": [1], "requests": 2},
            "space": {"itl_ms": {"type": "int", "low": 1, "high": 40}},
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "baseline": False,
            "sampler": {"kind": "random", "seed": 1},
            "budget": {"trials": 30, "plateau": 0.01, **budget},
        }
    )


class Play:
    """One worker of a study whose trials all give the same, but for a noise of 0.1 %."""

    def __init__(self, store: Store, **budget: object) -> None:
        made, self.store = spec(**budget), store
        self.record = store.studies.add(name="level", spec_json=made.model_dump_json(), space_hash="", budget=30)
        self.worker = self._worker()
        setting = Setting(
            study_id=self.record.id,
            worker_id=self.worker.id,
            spec=made,
            parts=assemble(made, InstalledKinds()),
            model=MODEL,
            slot=self.worker.slot,
            store=store,
        )
        self.history = History(store, self.record, made)
        self.plateau = Plateau(setting, Servers(setting), self.history)

    def _worker(self) -> WorkerRecord:
        slot = Slot(name="s", host="h")
        return self.store.workers.register(
            study_id=self.record.id, slot=slot, host="h", boot_id="b", pid=1, pid_start=1.0
        )

    def claim(self) -> AttemptRecord | None:
        return self.store.attempts.claim(self.record.id, self.worker.id, baseline=False)

    def trials(self, count: int) -> None:
        for _ in range(count):
            attempt = self.claim()
            assert attempt is not None
            self.end(attempt)

    def end(self, attempt: AttemptRecord) -> None:
        trial, _ = self.history.ask(attempt)
        gave = Outcome(
            verdict=Verdict.COMPLETE, values=(100.0 + trial.number % 3 / 10,), constraints={"server runs": 0.0}
        )
        assert self.store.attempts.end(attempt.id, self.worker.id, gave, retry=False)
        self.history.tell()

    @property
    def study(self) -> StudyRecord:
        return self.store.studies.by_id(self.record.id)


def test_a_level_search_ends_when_it_has_been_level_for_some_trials_and_says_why(store: Store) -> None:
    play = Play(store)
    play.trials(ENOUGH - 1)
    play.plateau.look()
    assert play.study.ended_because is None
    play.trials(1)
    play.plateau.look()
    study = play.study
    assert (study.budget, study.reserved, study.desired) == (ENOUGH, ENOUGH, Desired.RUN)
    assert (study.ended_because or "").startswith(f"after {ENOUGH} of 30 trials, {30 - ENOUGH} more trials could bring")
    assert play.claim() is None


@pytest.mark.parametrize("plateau", [None, 1e-9])
def test_a_search_that_could_bring_as_much_or_is_not_to_end_so_goes_on(store: Store, plateau: float | None) -> None:
    play = Play(store, plateau=plateau)
    play.trials(ENOUGH)
    play.plateau.look()
    assert play.study.ended_because is None


def test_a_study_that_was_resumed_without_it_is_not_ended_by_a_worker_that_began_before(store: Store) -> None:
    play = Play(store)
    play.trials(ENOUGH)
    store.studies.set_spec(play.record.id, spec(plateau=None).model_dump_json())
    play.plateau.look()
    assert play.study.ended_because is None


def test_what_runs_goes_on_and_a_study_that_is_resumed_has_its_budget_again(store: Store) -> None:
    play = Play(store)
    play.trials(ENOUGH)
    running = play.claim()
    assert running is not None
    play.plateau.look()
    assert (play.study.budget, play.study.reserved) == (ENOUGH + 1, ENOUGH + 1)
    play.end(running)
    assert play.claim() is None
    store.studies.set_budget(play.record.id, 30)
    assert store.studies.want(play.record.id, Desired.RUN).ended_because is None
    assert play.claim() is not None


def test_a_study_is_concluded_only_as_it_was_seen_and_while_it_is_to_run(store: Store) -> None:
    play = Play(store)
    before = play.study
    play.trials(1)
    assert store.studies.conclude(before, "it has moved on").budget == 30
    stopped = store.studies.want(play.record.id, Desired.STOP)
    assert store.studies.conclude(stopped, "too late") == stopped


def test_the_reason_counts_in_words() -> None:
    assert reason(1, 20, 0.0042, 0.005) == (
        "after 19 of 20 trials, 1 more trial could bring about 0.4 %, less than budget.plateau (0.5 %)"
    )
