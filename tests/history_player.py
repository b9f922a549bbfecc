"""A worker of a study without a server: it claims, asks, ends and tells; and the check that all histories agree."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from databases import DatabaseServer

from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord, AttemptState, Outcome, StudyRecord, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.history import STATES, History
from optuna_tuner.values import Cause, Params, Slot

SPACE = {
    "a": {"type": "int", "low": 0, "high": 1000},
    "b": {"type": "switch"},
    "c": {"type": "choice", "choices": ["x", "y"], "when": {"b": True}},
    "f": {"type": "float", "low": 0.9, "high": 0.99, "step": 0.01},
    "THREADS": {"type": "int", "low": 1, "high": 64, "env": True},
    "FAST": {"type": "switch", "env": True},
    "RATE": {"type": "float", "low": 0.001, "high": 1.0, "log": True, "env": True},
    "LEVEL": {"type": "choice", "choices": ["1", "2"], "env": True},
}
GOOD = Outcome(verdict=Verdict.COMPLETE, values=(7.0,), constraints={"server runs": 0.0})
LOST = Outcome(verdict=Verdict.FAIL, cause=Cause.WORKER_LOST, reason="gone")


FEW = {name: SPACE[name] for name in ("a", "FAST")}


def spec(kind: str = "tpe", budget: int = 40, space: object = None, first: object = ()) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "cuts",
            "model": {"name": "m"},
            "engine": {"kind": "fake"},
            "benchmark": {"kind": "http"},
            "space": space or SPACE,
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "first": first,
            "budget": {"trials": budget},
            "sampler": {"kind": kind, "startup_trials": 3},
        }
    )


class Player:
    """One worker of the study, which asks and ends what it claims."""

    def __init__(self, store: Store, record: StudyRecord, study_spec: StudySpec) -> None:
        self.store, self.record, self.first = store, record, study_spec.first_params
        self.id = store.workers.register(
            study_id=record.id, slot=Slot(name="s", host="h"), host="h", boot_id="b", pid=1, pid_start=1.0
        ).id
        self.history = History(store, record, study_spec)

    def claim(self) -> AttemptRecord:
        attempt = self.store.attempts.claim(self.record.id, self.id, baseline=True, first=self.first)
        assert attempt is not None
        return attempt

    def play(self) -> Params:
        """One trial from its claim to its end."""
        attempt = self.claim()
        _, params = self.history.ask(attempt)
        assert self.store.attempts.end(attempt.id, self.id, GOOD, retry=False)
        self.history.tell()
        return params

    def bury(self) -> None:
        """What a reaper does when this one is dead."""
        self.store.workers.retire(self.id)
        for attempt in self.store.attempts.running(self.record.id):
            if attempt.worker_id == self.id:
                self.store.attempts.end(attempt.id, self.id, LOST, retry=True)
        self.history.tell()


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of the kind that the fixture was asked for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studies.db"
    server: DatabaseServer = request.getfixturevalue(request.param)
    return server.new_database()


def check_agreement(store: Store, record: StudyRecord) -> None:
    """Every trial of Optuna is one attempt of ours, ended alike, with the same parameters."""
    trials = optuna.load_study(study_name="cuts", storage=store.optuna_storage()).trials
    attempts = {attempt.number: attempt for attempt in store.attempts.of(record.id) if attempt.number is not None}
    assert [trial.number for trial in trials] == sorted(attempts)
    for trial in trials:
        attempt = attempts[trial.number]
        assert attempt.state is AttemptState.ENDED
        assert attempt.outcome is not None
        assert trial.state is STATES[attempt.outcome.verdict]
        assert trial.values == (list(attempt.outcome.values) or None)
        if attempt.params is not None and attempt.number is not None:
            assert attempt.params == read(trial.params)


def read(params: dict[str, object]) -> Params:
    """Optuna's parameters as ours are kept."""
    env = {name: value for name, value in params.items() if name.isupper()}
    words = {name: str(int(value)) if isinstance(value, bool) else str(value) for name, value in env.items()}
    flags = {name: value for name, value in params.items() if name not in env}
    if "f" in flags:
        flags["f"] = round(float(str(flags["f"])), 2)
    return Params(flags=flags, env=words)  # type: ignore[arg-type]
