"""Whole studies on the fake server: workers are killed, interrupted and steered, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import optuna
import psutil
import pytest
from databases import DatabaseServer

from optuna_tuner import Tuner
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import ConflictError
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import StudyState
from optuna_tuner.search.verdict import SERVER_RUNS
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.frontier import EVERYTHING
from optuna_tuner.values import Cause, Phase

PATIENCE_S = 120.0
FAKE_SERVER = "optuna_tuner.testing.fake_server"


def study(name: str, **changes: object) -> StudySpec:
    document: dict[str, object] = {
        "name": name,
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "flags": {"ttft_ms": 5}},
        "benchmark": {"kind": "http", "scenario": "D(8,4)", "concurrency": [2], "requests": 4},
        "space": {"itl_ms": {"type": "float", "low": 1.0, "high": 10.0}},
        "goals": {
            "objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}],
            "constraints": [{"metric": "ttft_ms.p99", "at_most": 5000}],
        },
        "budget": {"trials": 6},
    }
    return StudySpec.model_validate(document | changes)


RANDOM = {"kind": "random", "seed": 1}
SLOW = {"benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1], "requests": 20}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPTUNA_TUNER_STORAGE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def tuner(home: Path) -> Iterator[Tuner]:
    yield from opened(home)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("mysql", marks=pytest.mark.mysql),
    ]
)
def any_tuner(home: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuner]:
    """A tuner on each kind of database."""
    if request.param != "sqlite":
        server: DatabaseServer = request.getfixturevalue(request.param)
        monkeypatch.setenv("OPTUNA_TUNER_STORAGE", server.new_database())
    yield from opened(home)


def opened(home: Path) -> Iterator[Tuner]:
    front = Tuner()
    yield front
    front.close()
    assert servers(home) == []


def servers(home: Path, attempt_id: str = "") -> list[psutil.Process]:
    """Fake servers of this test that are alive, whoever started them."""

    def ours(process: psutil.Process) -> bool:
        try:
            environment = process.environ() if FAKE_SERVER in process.cmdline() else {}
        except psutil.Error:
            return False
        return environment.get("OPTUNA_TUNER_HOME") == str(home) and attempt_id in environment["OPTUNA_TUNER_LEDGER"]

    return [process for process in psutil.process_iter() if ours(process)]


def wait_for(look: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    found = poll(lambda: look() or None, Deadline.after(seconds))
    assert found is not None, "waited in vain"


def running(tuner: Tuner, name: str) -> list[TrialView]:
    return [trial for trial in tuner.trials(name) if trial.state is TrialState.RUNNING]


def measuring(tuner: Tuner, name: str) -> bool:
    return any(trial.phase == "benchmark" for trial in running(tuner, name))


class Run:
    """`optuna-tuner run STUDY` as a process of its own."""

    def __init__(self, name: str, *, workers: int = 1) -> None:
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("optuna-tuner"), "run", name, "--workers", str(workers)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
        )

    def worker(self, slot: str) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if f'"name":"{slot}"' in child.cmdline()[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def optuna_trials(tuner: Tuner, name: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=tuner._store.optuna_storage(reading=True)).trials


def agree(tuner: Tuner, name: str) -> None:
    """Optuna's history says the same as our own tables."""
    ours = {trial.number: trial for trial in tuner.trials(name) if trial.number is not None}
    theirs = {trial.number: trial for trial in optuna_trials(tuner, name)}
    assert ours.keys() == theirs.keys()
    for number, trial in theirs.items():
        assert trial.state.name.lower() == (ours[number].verdict or "running")
        assert tuple(trial.values or ()) == ours[number].values
        assert trial.constraints == ours[number].constraints


def test_two_workers_spend_the_budget_exactly_and_optuna_agrees(any_tuner: Tuner) -> None:
    view = any_tuner.run(study("two", budget={"trials": 12}), workers=2)
    assert (view.state, view.spent, view.counts.complete) == (StudyState.DONE, 12, 12)
    assert sorted(trial.number or 0 for trial in view.trials) == list(range(12))
    assert len({trial.worker for trial in view.trials}) == 2
    agree(any_tuner, "two")


def test_trial_0_is_the_engines_own_default_and_the_gain_is_over_it(tuner: Tuner) -> None:
    view = tuner.run(study("base"))
    assert view.baseline is not None
    assert (view.baseline.number, view.baseline.params) == (0, {})
    assert view.comparison.gains[0].baseline == view.baseline.values[0]


def test_a_crash_is_pruned_with_its_cause_and_every_constraint_and_seen_at_once(tuner: Tuner) -> None:
    space = {"misbehave": {"type": "choice", "choices": ["out_of_memory"]}}
    view = tuner.run(study("crash", space=space, budget={"trials": 3}, limits={"startup_s": 600}))
    crashed = [trial for trial in view.trials if trial.number]
    assert {trial.cause for trial in crashed} == {Cause.OUT_OF_MEMORY_POOL}
    assert all(trial.constraints == {SERVER_RUNS: 1.0, "ttft_ms.p99 <= 5000": 1.0} for trial in crashed)
    assert all((trial.duration_s or 0) < 20 for trial in crashed)
    agree(tuner, "crash")


def test_the_machines_fault_is_tried_three_times_and_costs_one_trial_of_the_budget(tuner: Tuner) -> None:
    broken = {"kind": "script", "command": ["false"], "metrics": ["output_throughput_tok_s", "ttft_ms.p99"]}
    view = tuner.run(study("machine", benchmark=broken, budget={"trials": 2}, limits={"same_fault": 7}))
    assert view.state is StudyState.DONE
    assert [trial.state for trial in view.trials] == [TrialState.FAILED] * 6
    assert sorted(trial.tries for trial in view.trials) == [1, 1, 2, 2, 3, 3]
    again = [trial for trial in view.trials if trial.params]
    assert len({str(trial.params) for trial in again}) == 1
    agree(tuner, "machine")


def test_a_worker_killed_in_mid_benchmark_takes_its_server_along_and_its_trial_is_run_again(
    any_tuner: Tuner, home: Path
) -> None:
    any_tuner.create(study("killed", **SLOW, budget={"trials": 4}))
    with Run("killed", workers=2) as run:
        wait_for(lambda: measuring(any_tuner, "killed"))
        victim = next(trial for trial in running(any_tuner, "killed") if trial.phase == "benchmark")
        run.worker(victim.slot).kill()
        wait_for(lambda: not servers(home, victim.attempt_id), 10)
        assert run.process.wait(PATIENCE_S) == 0
    view = any_tuner.study("killed")
    lost = [trial for trial in view.trials if trial.cause is Cause.WORKER_LOST]
    assert [trial.attempt_id for trial in lost] == [victim.attempt_id]
    successor = next(trial for trial in view.trials if trial.retry_of == victim.attempt_id)
    assert (successor.params, successor.state) == (victim.params, TrialState.FEASIBLE)
    assert set(successor.phases_s) == set(Phase) - {Phase.QUALITY}  # it has no such guard
    assert successor.phases_s[Phase.QUEUE] > 0
    assert (view.spent, view.counts.complete) == (4, 4)
    agree(any_tuner, "killed")


def test_ctrl_c_gives_the_trial_back_and_the_same_command_goes_on(tuner: Tuner, home: Path) -> None:
    tuner.create(study("interrupted", **SLOW, budget={"trials": 2}))
    with Run("interrupted") as run:
        wait_for(lambda: measuring(tuner, "interrupted"))
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(PATIENCE_S) == 130
    assert servers(home) == []
    view = tuner.study("interrupted")
    assert (view.counts.queued, view.counts.running, view.spent) == (1, 0, 0)
    with Run("interrupted") as run:
        assert run.process.wait(PATIENCE_S) == 0
    view = tuner.study("interrupted")
    assert (view.state, view.counts.complete, view.spent) == (StudyState.DONE, 2, 2)
    assert max(trial.tries for trial in view.trials) == 1
    agree(tuner, "interrupted")


def test_a_killed_run_takes_its_workers_and_servers_along(tuner: Tuner, home: Path) -> None:
    tuner.create(study("orphaned", **SLOW))
    with Run("orphaned") as run:
        wait_for(lambda: measuring(tuner, "orphaned"))
        run.process.kill()
    wait_for(lambda: not servers(home))
    wait_for(lambda: tuner.study("orphaned").counts.queued == 1)


def test_pause_stop_and_resume(tuner: Tuner) -> None:
    tuner.create(study("steered", **SLOW, budget={"trials": 3}))
    with Run("steered") as run:
        wait_for(lambda: measuring(tuner, "steered"))
        tuner.pause("steered")
        wait_for(lambda: tuner.study("steered").state is StudyState.PAUSED)
        assert tuner.study("steered").spent == 1
        tuner.resume("steered")
        wait_for(lambda: measuring(tuner, "steered"))
        tuner.stop("steered")
        assert run.process.wait(PATIENCE_S) == 0
    view = tuner.study("steered")
    assert (view.state, view.spent, view.counts.complete) == (StudyState.STOPPED, 2, 2)


def test_cancel_ends_a_trial_or_all_of_them(tuner: Tuner, home: Path) -> None:
    tuner.create(study("cancelled", **SLOW, budget={"trials": 3}))
    with Run("cancelled") as run:
        wait_for(lambda: measuring(tuner, "cancelled"))
        tuner.cancel_trial("cancelled", 0)
        wait_for(lambda: tuner.trial("cancelled", 0).cause is Cause.CANCELLED)
        wait_for(lambda: measuring(tuner, "cancelled"))
        tuner.cancel("cancelled")
        assert run.process.wait(PATIENCE_S) in {0, 1}
    view = tuner.study("cancelled")
    assert [trial.cause for trial in view.trials] == [Cause.CANCELLED] * 2
    assert (view.state, servers(home)) == (StudyState.CANCELLED, [])
    agree(tuner, "cancelled")


def test_a_changed_space_under_the_same_name_is_a_conflict_and_a_larger_budget_is_not(tuner: Tuner) -> None:
    tuner.run(study("same", budget={"trials": 2}))
    with pytest.raises(ConflictError, match="new name"):
        tuner.run(study("same", space={"itl_ms": {"type": "int", "low": 1, "high": 99}}))
    assert tuner.run(study("same", budget={"trials": 3})).spent == 3


def test_a_rule_rejects_before_anything_is_launched(tuner: Tuner, home: Path) -> None:
    rules = [{"forbid": "itl_ms >= 1", "because": "no value is allowed"}]
    view = tuner.run(study("ruled", rules=rules, budget={"trials": 3}))
    rejected = [trial for trial in view.trials if trial.number]
    assert {trial.cause for trial in rejected} == {Cause.REJECTED}
    assert "no value is allowed" in rejected[0].reason
    launches = list((home / "artifacts").rglob("launch.json"))
    assert len(launches) == 1


def test_a_worker_joins_from_another_shell_and_sigterm_gives_its_trial_back(tuner: Tuner) -> None:
    tuner.create(study("joined", **SLOW, budget={"trials": 5}))
    command = [str(Path(sys.executable).with_name("optuna-tuner")), "worker"]
    joined = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    wait_for(lambda: len(running(tuner, "joined")) == 2)
    wait_for(lambda: measuring(tuner, "joined"))
    joined[0].terminate()
    assert joined[0].wait(PATIENCE_S) == 130
    assert joined[1].wait(PATIENCE_S) == 0
    view = tuner.study("joined")
    assert (view.state, view.counts.complete, view.spent) == (StudyState.DONE, 5, 5)
    assert [trial.cause for trial in view.trials if trial.state is TrialState.STOPPED] == [Cause.STOPPED]
    agree(tuner, "joined")


def test_a_pruner_gives_trials_up_between_two_load_levels(tuner: Tuner) -> None:
    levels = {"kind": "http", "scenario": "D(8,4)", "concurrency": [1, 2, 4], "requests": 4}
    view = tuner.run(
        study("levels", benchmark=levels, pruner={"kind": "median"}, sampler=RANDOM, budget={"trials": 16})
    )
    given_up = [trial for trial in view.trials if trial.cause is Cause.PRUNED]
    assert given_up
    assert all(trial.verdict == "pruned" and len(trial.measurements) < 3 for trial in given_up)
    assert all(trial.phases_s[Phase.TEARDOWN] > 0 for trial in given_up)
    agree(tuner, "levels")


def test_several_objectives_give_a_front_of_feasible_trials(tuner: Tuner) -> None:
    objectives = [
        {"metric": "output_throughput_tok_s", "direction": "maximize"},
        {"metric": "ttft_ms.p99", "direction": "minimize"},
    ]
    view = tuner.run(study("front", goals={"objectives": objectives}, budget={"trials": 5}))
    assert all(len(trial.values) == 2 for trial in view.trials)
    assert all(trial.feasible for trial in view.best.trials)
    agree(tuner, "front")


def test_wall_time_ends_a_run_after_the_trial_in_hand_and_the_next_run_goes_on(tuner: Tuner) -> None:
    view = tuner.run(study("timed", budget={"trials": 1000, "wall_time_s": 10}))
    assert (view.state, view.counts.running) == (StudyState.STOPPED, 0)
    assert view.ended_because == "the wall time is over: budget.wall_time_s is 10"
    longer = study("timed", budget={"trials": view.spent + 1})
    assert tuner.create(longer).ended_because is None
    assert tuner.run(longer).state is StudyState.DONE


def test_a_server_that_hangs_under_load_is_the_configurations_fault_and_seen_at_the_limit(tuner: Tuner) -> None:
    space = {"misbehave": {"type": "choice", "choices": ["hang_after=6"]}}
    load = {"kind": "http", "scenario": "D(8,4)", "concurrency": [2], "requests": 8, "request_timeout_s": 2}
    view = tuner.run(study("hangs", space=space, benchmark=load, budget={"trials": 2}))
    assert view.trials[1].cause is Cause.DEGRADED


def test_a_grid_ends_when_every_configuration_was_visited(tuner: Tuner) -> None:
    space = {"itl_ms": {"type": "int", "low": 1, "high": 3}}
    view = tuner.run(study("grid", space=space, sampler={"kind": "grid"}, budget={"trials": 50}), workers=2)
    assert (view.state, sorted(trial.params.get("itl_ms", 0) for trial in view.trials)) == (
        StudyState.DONE,
        [0, 1, 2, 3],
    )


SMALL = {"itl_ms": {"type": "int", "low": 4, "high": 5}, "slots": {"type": "choice", "choices": [0, 2]}}


def test_a_study_is_done_when_each_server_of_its_space_was_measured_once(tuner: Tuner) -> None:
    view = tuner.run(study("small", space=SMALL, budget={"trials": 50}))
    assert (view.state, view.ended_because) == (StudyState.DONE, EVERYTHING)
    measured = [trial for trial in view.trials if trial.same_as is None]
    assert (len(measured), view.spent, view.budget) == (4, 4, 4)  # the default has itl_ms 5 and slots 0
    assert view.counts.repeated == len(view.trials) - 4
    agree(tuner, "small")


def test_two_workers_measure_each_server_once_and_their_budget_is_exact(any_tuner: Tuner, home: Path) -> None:
    view = any_tuner.run(study("once", space=SMALL, sampler=RANDOM, budget={"trials": 3}), workers=2)
    measured = [trial for trial in view.trials if trial.same_as is None]
    assert (view.state, len(measured), view.spent) == (StudyState.DONE, 3, 3)
    assert len(list((home / "artifacts").rglob("launch.json"))) == 3
    theirs = {trial.number: trial for trial in optuna_trials(any_tuner, "once")}
    ours = {trial.number: trial for trial in view.trials if trial.number is not None}
    for number, trial in ((number, trial) for number, trial in ours.items() if trial.same_as is not None):
        assert theirs[number].user_attrs["same_as"] == trial.same_as
        assert (trial.cause is Cause.REPEATED) != (trial.values == ours[trial.same_as or 0].values)
    agree(any_tuner, "once")


def test_who_wants_to_measure_equal_servers_again_says_so(tuner: Tuner) -> None:
    space = {"itl_ms": {"type": "int", "low": 5, "high": 5}}
    view = tuner.run(study("again", space=space, sampler={"measure_again": True}, budget={"trials": 3}))
    assert (view.state, view.counts.complete, view.counts.repeated) == (StudyState.DONE, 3, 0)
