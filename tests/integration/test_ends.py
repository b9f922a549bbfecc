"""How a study, a trial or a worker ends before its time: for what reason, how soon, and what is said of it."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from runs import PATIENCE_S, SLOW, measuring, process, running, say, servers, study, wait_for, workers

from optuna_tuner import Tuner
from optuna_tuner.clock import now
from optuna_tuner.results.importance import forget_importances, importance_of
from optuna_tuner.results.trials import TrialState
from optuna_tuner.results.views import StudyState, StudyView
from optuna_tuner.tuning.reaper import Reaped, Reaper
from optuna_tuner.values import Cause

FREE_S = 30.0  # from SIGTERM or cancel to free devices, whatever the worker does just then
FALSE = {"kind": "script", "command": ["false"], "metrics": ["output_throughput_tok_s"]}
STUBBORN = {"kind": "fake", "flags": {"ttft_ms": 5, "misbehave": "ignore_sigterm"}}


def test_a_benchmark_that_fails_each_time_ends_the_study_and_the_reason_is_said_everywhere(tuner: Tuner) -> None:
    tuner.create(study("broken", benchmark=FALSE, budget={"trials": 50}))
    reason = "5 trials in a row failed by the same fault of the machine, benchmark_failed"
    told = say("run", "broken")
    assert (told.returncode, reason in told.stdout) == (1, True), told
    view = tuner.study("broken")
    assert (view.state, len(view.trials), view.counts.failed) == (StudyState.STOPPED, 6, 5)
    for words in (("show", "broken"), ("studies",), ("results", "broken")):
        assert reason in say(*words).stdout
    assert [each.state for each in tuner.watch("broken")] == [StudyState.STOPPED]
    assert say("run", "broken").returncode == 1
    assert tuner.study("broken").counts.failed == 6, "it goes on, and one more of the same kind ends it again"
    assert tuner.resume("broken").ended_because is None


def test_wall_time_runs_from_the_start_of_a_run_also_for_a_worker_that_is_started_again(tuner: Tuner) -> None:
    tuner.create(study("timed", requests=SLOW, budget={"trials": 1000, "wall_time_s": 20}))
    began = now()
    with process("run", "timed") as run:
        wait_for(lambda: now() - began > 10 and measuring(tuner, "timed"))
        (worker,) = workers(run)
        worker.kill()
        assert run.wait(PATIENCE_S) == 0
    assert now() - began < 20 + PATIENCE_S / 2
    view = tuner.study("timed")
    assert (view.state, view.ended_because) == (
        StudyState.STOPPED,
        "the wall time is over: budget.wall_time_s is 20",
    )
    assert view.counts.running == 0


def in_a_benchmark(tuner: Tuner, name: str) -> bool:
    return bool(measuring(tuner, name))


def in_a_teardown(tuner: Tuner, name: str) -> bool:
    return any(trial.phase == "teardown" for trial in running(tuner, name))


@pytest.mark.parametrize("moment", [in_a_benchmark, in_a_teardown])
@pytest.mark.parametrize("locked", [False, True])
def test_sigterm_frees_the_devices_soon_also_while_the_database_is_locked(
    tuner: Tuner, home: Path, moment: Callable[[Tuner, str], bool], *, locked: bool
) -> None:
    requests = SLOW if moment is in_a_benchmark else 2
    tuner.create(study("ended", requests=requests, engine=STUBBORN, limits={"teardown_s": 120}))
    with process("worker", "ended") as worker, closing(sqlite3.connect(home / "studies.db", timeout=60)) as other:
        wait_for(lambda: moment(tuner, "ended"))
        if locked:
            other.execute("BEGIN EXCLUSIVE")
        worker.terminate()
        began = now()
        wait_for(lambda: not servers(home), FREE_S)
        assert worker.wait(FREE_S) == 130
        assert now() - began < FREE_S
    assert say("reap").returncode == 0
    view = tuner.study("ended")
    assert (view.counts.running, view.workers) == (0, 0)


def test_sigterm_ends_a_worker_that_waits_for_the_studys_lock(tuner: Tuner, home: Path) -> None:
    view = tuner.create(study("locked"))
    with tuner._store.study_lock(view.id), process("worker", "locked") as worker:
        wait_for(lambda: running(tuner, "locked"))
        worker.terminate()
        assert worker.wait(FREE_S) == 130
    view = tuner.study("locked")
    assert (view.counts.running, view.counts.queued, view.workers) == (0, 1, 0)
    assert servers(home) == []


@pytest.mark.parametrize("whole", [False, True])
def test_a_cancel_in_a_teardown_does_not_wait_for_its_grace(tuner: Tuner, home: Path, *, whole: bool) -> None:
    tuner.create(study("stubborn", engine=STUBBORN, limits={"teardown_s": 120}, budget={"trials": 1}))
    with process("worker", "stubborn") as worker:
        wait_for(lambda: in_a_teardown(tuner, "stubborn"))
        if whole:
            tuner.cancel("stubborn")
        else:
            tuner.cancel_trial("stubborn", 0)
        wait_for(lambda: not servers(home), FREE_S)
        assert worker.wait(PATIENCE_S) == 0
    assert tuner.trial("stubborn", 0).state is TrialState.FEASIBLE, "it was measured to its end"


def test_a_progress_that_raises_gives_the_trials_back_first(tuner: Tuner, home: Path) -> None:
    class ClosedWindowError(Exception):
        pass

    def look(view: StudyView) -> None:
        if any(trial.phase == "benchmark" for trial in view.trials):
            raise ClosedWindowError

    with pytest.raises(ClosedWindowError):
        tuner.run(study("watched", requests=SLOW), progress=look)
    view = tuner.study("watched")
    assert servers(home) == []
    assert [trial.cause for trial in view.trials if trial.number is not None] == [Cause.STOPPED]
    assert (view.counts.running, view.counts.queued, view.workers) == (0, 1, 0)


def test_a_worker_ends_after_its_trial_when_a_newer_version_has_upgraded_the_tables(tuner: Tuner, home: Path) -> None:
    tuner.create(study("drained", requests=SLOW, budget={"trials": 5}))
    with process("worker", "drained") as worker:
        wait_for(lambda: measuring(tuner, "drained"))
        with closing(sqlite3.connect(home / "studies.db", timeout=60)) as newer:
            newer.execute("UPDATE tuner_alembic_version SET version_num = '9999'")
            newer.commit()
        _, said = worker.communicate(timeout=PATIENCE_S)
        assert worker.returncode == 4
    assert "upgraded by a newer optuna-tuner" in said.decode()
    view = tuner.study("drained")
    assert (view.counts.complete, view.counts.running, view.workers) == (1, 0, 0)


def test_a_fault_between_two_trials_does_not_end_the_night(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_reaper: Reaper) -> Reaped:
        raise ZeroDivisionError

    monkeypatch.setattr(Reaper, "reap", broken)
    tuner.create(study("faulty"))
    assert tuner.work("faulty") == 2
    assert tuner.study("faulty").state is StudyState.DONE
    assert "failed by a fault of this program" in caplog.text


def test_a_worker_whose_process_was_killed_hard_is_said_by_nobody_to_run(tuner: Tuner, home: Path) -> None:
    tuner.create(study("hard", requests=SLOW))
    with process("run", "hard") as run:
        wait_for(lambda: measuring(tuner, "hard"))
        for worker in workers(run):
            worker.suspend()
        subprocess.run(["kill", "-TERM", str(run.pid)], check=True)
        wait_for(lambda: run.poll() is not None)
    assert run.returncode == 130
    view = tuner.study("hard")
    assert (view.counts.running, view.counts.queued, view.workers) == (0, 1, 0)
    assert servers(home) == []
    assert os.listdir(home / "servers") == []  # noqa: PTH208  names are enough


def test_a_worker_lets_go_of_the_stores_that_were_closed(home: Path) -> None:  # noqa: ARG001  everything lies there
    """In one process for long, as in a notebook: Python's own collector comes once in several stores."""
    closed = []
    gc.disable()
    try:
        for name in ("first", "second", "third"):  # what the first one imports keeps its frames
            with closing(Tuner()) as tuner:
                tuner.create(study(name))
                assert tuner.work(name, max_trials=1) == 1
                closed.append(weakref.ref(tuner._store))
    finally:
        gc.enable()
    assert closed[1]() is None


def test_a_worker_keeps_no_importances(home: Path) -> None:  # noqa: ARG001  everything lies there
    pytest.importorskip("sklearn")
    forget_importances()
    with closing(Tuner()) as tuner:
        tuner.create(study("kept", budget={"trials": 5}))
        assert tuner.work("kept") == 5
        assert kept_importances() == 0
        assert importance_of(tuner._store.optuna_storage().get_all_trials(1)).shares
        assert kept_importances() == 1, "the worker asked for the same, and did keep it"


def kept_importances() -> int:
    return sum(type(each).__name__ == "_Points" for each in gc.get_objects())
