"""A search that is ended by its plateau, from the file to what people read."""

from __future__ import annotations

from runs import home, study, tuner

from optuna_tuner import Tuner
from optuna_tuner.results.views import StudyState
from optuna_tuner.search.outlook import FEWEST, PATIENCE
from optuna_tuner.search.problem import Problem
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.tuning.history import History
from optuna_tuner.values import Slot

__all__ = ["home", "tuner"]  # fixtures

SPACE = {"itl_ms": {"type": "float", "low": 1.0, "high": 2.0}}  # the default's is 5
ENOUGH = FEWEST + len(SPACE) + PATIENCE - 1


def level(**budget: object) -> StudySpec:
    return study("level", space=SPACE, sampler={"kind": "random", "seed": 1}, budget=budget)


def on_paper(tuner: Tuner, spec: StudySpec, count: int) -> None:
    """So many trials of the study, which a worker that is gone by now ran in no time."""
    store, study_id = tuner._store, tuner.create(spec).id
    history = History(store, store.studies.by_id(study_id), spec, problem=Problem.of(spec, {"itl_ms": 5.0}))
    slot = Slot(name="paper", host="h")
    worker = store.workers.register(study_id=study_id, slot=slot, host="h", boot_id="b", pid=1, pid_start=1.0)
    for _ in range(count):
        attempt = store.attempts.claim(study_id, worker.id, baseline=True)
        assert attempt is not None
        _, params = history.ask(attempt)
        speed = 900 / float(params.flags.get("itl_ms", 5.0))
        gave = Outcome(
            verdict=Verdict.COMPLETE,
            values=(speed,),
            constraints={"server runs": 0.0},
            effective_config={"itl_ms": params.flags.get("itl_ms", 5.0)},
        )
        assert store.attempts.end(attempt.id, worker.id, gave, retry=False)
        history.tell()
    store.workers.retire(worker.id)


def test_a_level_search_ends_before_its_budget_says_why_and_goes_on_when_asked(tuner: Tuner) -> None:
    ends = level(trials=30, plateau=0.9)
    on_paper(tuner, ends, ENOUGH - 1)
    view = tuner.run(ends)
    assert (view.state, view.spent, view.budget) == (StudyState.DONE, ENOUGH, ENOUGH)
    ended = f"after {ENOUGH} of 30 trials, {30 - ENOUGH} more trials could bring about"
    assert (view.ended_because or "").startswith(ended)
    why = tuner.why("level")
    assert (why.needed, why.outlook is None) == (("itl_ms",), False)
    more = tuner.create(level(trials=ENOUGH + 1))
    assert (more.state, more.ended_because, more.budget) == (StudyState.WAITING, None, ENOUGH + 1)
