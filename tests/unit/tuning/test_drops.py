"""A study with a win to its simplest configuration, by the worker's own steps; what its servers give is made up."""

from __future__ import annotations

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.results.reading import read_study
from optuna_tuner.results.views import StudyState, StudyView
from optuna_tuner.search.confirming import again_of
from optuna_tuner.search.problem import Problem
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.drops import Dropping
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.setting import Setting, assemble
from optuna_tuner.values import Model, Params, Slot

SLOT = Slot(name="s", host="h")
SPEC = StudySpec.model_validate(
    {
        "name": "long",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "flags": {"itl_ms": 8, "slots": 4}},
        "benchmark": {"kind": "http", "scenario": "D(8,4)", "concurrency": [1], "requests": 2},
        "space": {
            "itl_ms": {"type": "choice", "choices": [2, 4, 8]},
            "slots": {"type": "choice", "choices": [1, 2, 4]},
        },
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "sampler": {"kind": "grid"},
        "budget": {"trials": 10},
        "confirm": {"top": 1, "pairs": 2, "simplify": 2},
    }
)


def gave(params: Params) -> Outcome:
    """The gap between tokens is all that matters, but for a hair."""
    speed = 1000.0 / float(params.flags.get("itl_ms", 8)) - float(params.flags.get("slots", 4)) / 1000
    return Outcome(verdict=Verdict.COMPLETE, values=(speed,), constraints={"server runs": 0.0})


class Play:
    """One worker."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.record = store.studies.add(name="long", spec_json=SPEC.model_dump_json(), space_hash="", budget=10)
        worker = store.workers.register(study_id=self.record.id, slot=SLOT, host="h", boot_id="b", pid=1, pid_start=1.0)
        self.setting = Setting(
            study_id=self.record.id,
            worker_id=worker.id,
            spec=SPEC,
            parts=assemble(SPEC, InstalledKinds()),
            model=Model(name="tiny", path="tiny", tokenizer="tiny"),
            slot=SLOT,
            store=store,
        )
        self.history = History(store, self.record, SPEC, problem=Problem.of(SPEC, SPEC.fixed_flags))
        self.dropping = Dropping(self.setting, self.history)

    def work(self) -> None:
        """Until there is nothing left to claim."""
        while True:
            self.dropping.look()
            attempt = self.store.attempts.claim(
                self.record.id, self.setting.worker_id, baseline=True, again=again_of(SPEC)
            )
            if attempt is None:
                return
            _, params = self.history.ask(attempt)
            assert self.store.attempts.end(attempt.id, self.setting.worker_id, gave(params), retry=False)
            self.history.tell()

    @property
    def view(self) -> StudyView:
        return read_study(self.store, self.store.studies.by_id(self.record.id))


def test_the_flag_that_does_nothing_is_left_out_and_the_simpler_server_is_what_is_recommended(store: Store) -> None:
    play = Play(store)
    play.work()
    view = play.view
    assert view.state is StudyState.DONE
    assert view.simplification is not None
    assert view.best.trial is not None
    assert view.best.trial.params == {"itl_ms": 2}
    assert view.best.trial.role == "confirm, pair 3"
    assert "Verdict: win" in view.comparison.text
    assert "1 of 2 flags keep the gain of trial" in view.comparison.text
    drops = store.studies.by_id(play.record.id).drops
    assert drops is not None
    assert (drops.winner.flags["itl_ms"], drops.groups) == (2, (("slots",),))
    play.dropping.look()  # and whoever looks again changes nothing
    assert store.studies.by_id(play.record.id).drops == drops
