"""The load of a trial where the most is looked for: what is measured, what is kept, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest
from pydantic import BaseModel

from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Engine, Target
from optuna_tuner.deployers.local import Local
from optuna_tuner.errors import DegradedError
from optuna_tuner.load_range import LoadRange
from optuna_tuner.search.verdict import SERVER_RUNS, scored
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.deployment import Server
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.levels import levels
from optuna_tuner.tuning.servers import Servers
from optuna_tuner.tuning.setting import Parts, Setting
from optuna_tuner.values import Cause, Endpoint, Handle, Load, Measurement, Metrics, Model

SPEC = StudySpec.model_validate(
    {
        "name": "most",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake"},
        "benchmark": {"kind": "curve"},
        "space": {"slots": {"type": "int", "low": 1, "high": 9}},
        "goals": {
            "objectives": [{"metric": "sustained_concurrency", "direction": "maximize"}],
            "constraints": [{"metric": "ttft_ms.p99", "at_most": 100}],
        },
    }
)
SLO = "ttft_ms.p99 <= 100"


class CurveBenchmark(Benchmark):
    """TTFT grows with the load: `ms_each` for each request in flight. Above `full` of them, too many requests fail.

    Where `told_ms_each` is given, the probes only look for the load, and the figures are by that.
    """

    kind: ClassVar[str] = "curve"
    summary: ClassVar[str] = "times by a formula"
    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, ms_each: float, full: float = 1e9, told_ms_each: float | None = None) -> None:
        self.ms_each, self.full, self.told_ms_each = ms_each, full, told_ms_each
        self.gives_up_after = 10**9

    def metrics(self) -> frozenset[str]:
        return frozenset({"ttft_ms.p99", "sustained_concurrency"})

    def loads(self) -> tuple[Load, ...]:
        return ()

    def searched(self) -> LoadRange | None:
        return LoadRange(low=Load(value=1), high=Load(value=64), precision=0.1, probes=12)

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Nothing is cold."""

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:  # noqa: ARG002  the formula is enough
        raise AssertionError("it was asked for levels that it does not have")

    def probe(self, target: Target, loads: Iterable[Load], deadline: Deadline) -> Iterator[Measurement]:  # noqa: ARG002  as above
        for count, load in enumerate(loads):
            if count == self.gives_up_after:
                raise DegradedError("too slow")
            yield Measurement(load=load, metrics=self._seen(load), probe=self.told_ms_each is not None)

    def _seen(self, load: Load) -> Metrics:
        return {"error_rate": 0.5} if load.value > self.full else {"ttft_ms.p99": self.ms_each * load.value}

    def report(self, target: Target, load: Load, deadline: Deadline) -> Measurement | None:  # noqa: ARG002  as above
        if self.told_ms_each is None:
            return None
        return Measurement(load=load, metrics={"ttft_ms.p99": self.told_ms_each * load.value})

    def missing(self) -> str | None:
        return None


class Scene:
    """One attempt of a study with a benchmark of its own."""

    def __init__(self, journal: Journal, study: StudyRecord, worker: WorkerRecord, store: Store) -> None:
        self.journal, self._study, self._worker, self._store = journal, study, worker, store

    def run(self, benchmark: Benchmark, within_s: float = 60) -> list[float]:
        """The loads that were measured, in their order."""
        setting = Setting(
            study_id=self._study.id,
            worker_id=self._worker.id,
            spec=SPEC,
            parts=Parts(
                engine=cast("Engine", SimpleNamespace()),
                deployer=Local(Local.Options()),
                benchmark=benchmark,
            ),
            model=Model(name="tiny", path="m", tokenizer="m"),
            slot=self._worker.slot,
            store=self._store,
        )
        handle = Handle(deployer="one", name="s", ref={})
        server = Server(endpoint=Endpoint(url="http://127.0.0.1:9", model="tiny"), handle=handle, setting=setting)
        for measurement in levels(server, self.journal, Servers(setting), Deadline.after(within_s)):
            self.journal.keep(measurement)
        return [each.load.value for each in self.journal.measurements]


@pytest.fixture
def scene(store: Store, study: StudyRecord, worker: WorkerRecord, tmp_path: Path) -> Scene:
    attempt = store.attempts.claim(study.id, worker.id, baseline=False)
    assert attempt is not None
    return Scene(Journal(store, attempt, tmp_path), study, worker, store)


def test_the_trial_is_scored_at_the_load_that_was_found(scene: Scene) -> None:
    loads = scene.run(CurveBenchmark(ms_each=5))
    outcome = scored(SPEC.goals, scene.journal.measurements, scene.journal.sought)
    assert (outcome.verdict, outcome.values, outcome.level) == (Verdict.COMPLETE, (20.0,), "concurrency=20")
    assert outcome.metrics == {"ttft_ms.p99": 100.0, "sustained_concurrency": 20.0}
    assert outcome.constraints == {SERVER_RUNS: 0.0, SLO: 0.0}
    assert loads[:2] == [8, 16]
    assert "kept at concurrency=20 and missed at 21" in scene.journal.complete(outcome).load_search


def test_where_not_even_the_lowest_load_keeps_the_slo_the_sampler_learns_how_far_off_it_is(scene: Scene) -> None:
    scene.run(CurveBenchmark(ms_each=150))
    outcome = scored(SPEC.goals, scene.journal.measurements, scene.journal.sought)
    assert (outcome.cause, outcome.values, outcome.level) == (Cause.SLO, (0.0,), "concurrency=1")
    assert outcome.constraints == {SERVER_RUNS: 0.0, SLO: pytest.approx(0.5)}


def test_a_load_under_which_requests_fail_is_too_much_and_not_the_trials_end(scene: Scene) -> None:
    loads = scene.run(CurveBenchmark(ms_each=1, full=12))
    assert max(loads) > 12
    outcome = scored(SPEC.goals, scene.journal.measurements, scene.journal.sought)
    assert (outcome.cause, outcome.values) == (None, (12.0,))


def test_where_requests_fail_under_every_load_the_trial_is_degraded(scene: Scene) -> None:
    with pytest.raises(DegradedError, match="no load could be measured: the SLO is missed already at concurrency=1"):
        scene.run(CurveBenchmark(ms_each=1, full=0))


def test_when_the_time_is_over_what_is_known_counts_and_it_is_said(scene: Scene) -> None:
    assert scene.run(CurveBenchmark(ms_each=5), within_s=0) == [8]
    outcome = scored(SPEC.goals, scene.journal.measurements, scene.journal.sought)
    assert outcome.values == (8.0,)
    assert "limits.benchmark_s was over" in scene.journal.load_search


@pytest.mark.parametrize(("probes", "within_s"), [(1, 60), (0, 0)])
def test_a_server_that_fails_while_there_is_time_or_before_anything_is_known_fails_the_trial(
    scene: Scene, probes: int, within_s: float
) -> None:
    benchmark = CurveBenchmark(ms_each=5)
    benchmark.gives_up_after = probes
    with pytest.raises(DegradedError, match="too slow"):
        scene.run(benchmark, within_s)


def test_the_figures_are_those_of_the_client_that_reports_and_a_lower_load_where_it_judges_otherwise(
    scene: Scene,
) -> None:
    scene.run(CurveBenchmark(ms_each=5, told_ms_each=5.2))
    reports = [each for each in scene.journal.measurements if not each.probe]
    assert [each.load.value for each in reports] == [20, 18]
    assert scene.journal.load_search.endswith("(9 probes); figures taken at 20, then 18")
    outcome = scored(SPEC.goals, scene.journal.measurements, scene.journal.sought)
    assert outcome.metrics == {"ttft_ms.p99": pytest.approx(93.6), "sustained_concurrency": 18.0}


def test_what_was_found_so_far_is_known_after_each_probe(scene: Scene) -> None:
    assert scene.journal.so_far(SPEC.goals) is None
    scene.run(CurveBenchmark(ms_each=5))
    assert scene.journal.so_far(SPEC.goals) == 20


def test_the_next_trial_begins_at_the_most_that_a_feasible_one_has_sustained(scene: Scene, store: Store) -> None:
    scene.run(CurveBenchmark(ms_each=5))
    outcome = scene.journal.complete(scored(SPEC.goals, scene.journal.measurements, scene.journal.sought))
    attempt = scene.journal.attempt
    assert store.attempts.end(attempt.id, attempt.worker_id or "", outcome, retry=False)
    scene.journal.measurements.clear()
    assert scene.run(CurveBenchmark(ms_each=15))[0] == 20
    assert "behind the best so far, 20" in scene.journal.load_search
