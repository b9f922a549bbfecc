"""A study on paper: what it measures is made up by a function, and its end is the real one.

For tests of the statistics, and for thousands of studies in a minute. What is measured again, in which order, and what
the verdict is, decides the code that decides it for real studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from optuna_tuner.search.confirmation import Confirmation
from optuna_tuner.search.confirming import confirmation_of, next_run, simplification_of, unthought
from optuna_tuner.search.simplifying import Simplification
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.attempt_rows import queued
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Drops,
    Extra,
    Outcome,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.values import Params, Slot

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULT = Params()

Measure = Callable[[Params], Outcome]
Predict = Callable[[Params], Drops]


def paper_spec(*, confirm: object = None, direction: str = "maximize", **changes: object) -> StudySpec:
    """A study with one parameter and one objective, the throughput; its file may be changed."""
    document: dict[str, object] = {
        "name": "paper",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake"},
        "benchmark": {"kind": "http"},
        "space": {"x": {"type": "int", "low": 0, "high": 1000}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": direction}]},
        "confirm": confirm if confirm is not None else {},
    }
    return StudySpec.model_validate(document | changes)


def gave(*values: float, **excesses: float) -> Outcome:
    """What a server that ran gave."""
    return Outcome(verdict=Verdict.COMPLETE, values=values, constraints={"server runs": 0.0, **excesses})


def worker_on(slot: str, *, retired: bool = False) -> WorkerRecord:
    """A worker on that slot; it has the slot's name."""
    return WorkerRecord(
        id=slot,
        study_id="paper",
        host="here",
        boot_id="boot",
        pid=1,
        pid_start=1.0,
        beat=0,
        slot=Slot(name=slot, host="here"),
        retired=retired,
    )


class PaperStudy:
    """The attempts of one study, in the order in which they were made; `measure` says what each gives."""

    def __init__(self, spec: StudySpec, measure: Measure) -> None:
        self.spec, self._measure = spec, measure
        self.attempts: list[AttemptRecord] = []
        self.workers: Sequence[WorkerRecord] = (worker_on("slot-0"),)
        self.drops: Drops | None = None

    def search(self, configurations: Sequence[Params]) -> None:
        """Measure the default, and then these."""
        self.run(Extra(kind=AttemptKind.BASELINE, params=DEFAULT))
        for params in configurations:
            self.run(Extra(kind=AttemptKind.SEARCH, params=params))

    def next(self, worker_id: str | None = None) -> Extra | None:
        """What this worker is to measure again."""
        return next_run(self.spec, self.attempts, self.workers, self.drops, worker_id)

    def confirm(self, predict: Predict | None = None) -> Confirmation | None:
        """Measure again until it is enough; `predict` says of a winner which flags may be left out."""
        while True:
            found = unthought(self.spec, self.attempts, self.workers, self.drops)
            if found is not None and predict is not None:
                self.drops = predict(found.winner.params or DEFAULT)
            extra = self.next("slot-0")
            if extra is None:
                return self.confirmation
            self.run(extra)

    @property
    def confirmation(self) -> Confirmation | None:
        """What was confirmed so far."""
        return confirmation_of(self.spec, self.attempts, self.workers)

    @property
    def simplification(self) -> Simplification | None:
        """What was simplified so far."""
        return simplification_of(self.spec, self.attempts, self.workers, self.drops)

    def run(self, extra: Extra, worker_id: str = "slot-0") -> AttemptRecord:
        """Measure one."""
        return self.end(self.begin(extra, worker_id), self._measure(extra.params))

    def begin(self, extra: Extra, worker_id: str = "slot-0", retry_of: str | None = None) -> AttemptRecord:
        """An attempt that runs."""
        number = len(self.attempts)
        waiting = queued(f"attempt-{number}", "paper", extra.kind, extra.params, retry_of=retry_of, pair=extra.pair)
        running = replace(waiting, state=AttemptState.RUNNING, number=number, worker_id=worker_id)
        self.attempts.append(running)
        return running

    def end(self, attempt: AttemptRecord, outcome: Outcome) -> AttemptRecord:
        """End it with this outcome."""
        at = BEGAN + timedelta(minutes=len(self.attempts))
        ended = replace(attempt, state=AttemptState.ENDED, outcome=outcome, ended_at=at)
        self.attempts[self.attempts.index(attempt)] = ended
        return ended
