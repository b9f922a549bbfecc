"""Workers that stand still, that cannot be heard, or that are all gone: what they held is taken back, and once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from runs import (
    COMMAND,
    PATIENCE_S,
    SLOW,
    measuring,
    process,
    running,
    say,
    servers,
    study,
    supervisors,
    wait_for,
    worker_of,
    workers,
)

from optuna_tuner import Tuner
from optuna_tuner.results.trials import TrialState
from optuna_tuner.results.views import StudyState
from optuna_tuner.values import Cause

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers want two CPU cores")


def log_of(home: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in home.glob("artifacts/*/workers/*.log"))


def suspend(worker: psutil.Process, home: Path) -> None:
    """Stop it outside a transaction: with one, it would keep everybody from SQLite for as long as it stands still."""
    (database,) = home.glob("*.db")

    def stands_without_a_lock() -> bool:
        worker.suspend()
        with closing(sqlite3.connect(database, timeout=2.0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                worker.resume()
                return False
        return True

    wait_for(stands_without_a_lock)


def test_a_worker_that_stood_still_for_a_lease_finds_itself_dead_and_is_started_again(tuner: Tuner, home: Path) -> None:
    tuner.create(study("stopped", requests=SLOW, limits={"lease_s": 4}, budget={"trials": 6}))
    with process("run", "stopped", "--workers", "2") as run:
        wait_for(lambda: len(measuring(tuner, "stopped")) == 2)
        victim = measuring(tuner, "stopped")[0]
        stopped = worker_of(run, victim.slot)
        assert stopped is not None
        suspend(stopped, home)
        wait_for(lambda: tuner.trial("stopped", victim.number or 0).cause is Cause.WORKER_LOST)
        assert servers(home, victim.attempt_id) == []
        stopped.resume()
        wait_for(lambda: worker_of(run, victim.slot) not in {None, stopped})
        assert run.wait(2 * PATIENCE_S) == 0
    view = tuner.study("stopped")
    assert (view.state, view.spent, view.counts.complete) == (StudyState.DONE, 6, 6)
    assert [trial.cause for trial in view.trials if trial.cause] == [Cause.WORKER_LOST]
    assert [trial.params for trial in view.trials if trial.retry_of == victim.attempt_id] == [victim.params]
    assert "its result is dropped" in log_of(home)


def test_a_worker_that_cannot_be_heard_ends_its_server_and_itself_before_others_could_take_it_for_dead(
    tuner: Tuner, home: Path
) -> None:
    tuner.create(study("silent", requests=3 * SLOW, limits={"lease_s": 6}, budget={"trials": 1}))
    with process("run", "silent") as run:
        wait_for(lambda: measuring(tuner, "silent"))
        (first,) = workers(run)
        with closing(sqlite3.connect(home / "studies.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            wait_for(lambda: not servers(home), 20)
            wait_for(lambda: not first.is_running(), 20)
            other.execute("ROLLBACK")
        assert run.wait(2 * PATIENCE_S) == 0
    assert "no beat was acknowledged" in log_of(home)
    view = tuner.study("silent")
    assert (view.state, view.counts.complete, view.counts.running) == (StudyState.DONE, 1, 0)


def test_reap_takes_back_what_is_left_when_everything_was_killed(tuner: Tuner, home: Path) -> None:
    tuner.create(study("killed", requests=SLOW))
    escaped = _kill_everything(tuner, home, "killed")
    assert tuner.study("killed").counts.running == 1
    assert escaped.poll() is None, "nobody is left to end it"
    told = say("reap")
    assert escaped.wait(PATIENCE_S) == -signal.SIGKILL
    assert told.returncode == 0, told.stderr
    assert [word in told.stdout for word in ("worker declared dead", "server gone", "queued again")] == [True] * 3
    assert servers(home) == []
    view = tuner.study("killed")
    assert (view.counts.running, view.counts.queued, view.workers) == (0, 1, 0)
    assert [trial.cause for trial in view.trials if trial.cause] == [Cause.WORKER_LOST]
    again = say("reap", "killed")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "There is nothing to take back.\n")
    with process("run", "killed") as run:
        assert run.wait(PATIENCE_S) == 0


def test_two_reapers_at_once_do_no_harm(tuner: Tuner, home: Path) -> None:
    tuner.create(study("twice", requests=SLOW))
    escaped = _kill_everything(tuner, home, "twice")
    both = [subprocess.Popen([COMMAND, "reap"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for each in both:
        said = each.communicate(timeout=PATIENCE_S)
        assert each.returncode == 0, said
    assert escaped.wait(PATIENCE_S) == -signal.SIGKILL
    assert servers(home) == []
    view = tuner.study("twice")
    assert (view.counts.queued, len(view.trials)) == (1, 2)


def _kill_everything(tuner: Tuner, home: Path, name: str) -> subprocess.Popen[bytes]:
    """Run, workers and supervisors, so quickly that none sees the other's end; a process of the server gets away."""
    with process("run", name) as run:
        wait_for(lambda: measuring(tuner, name))
        (server,) = servers(home)
        escaped = subprocess.Popen(["sleep", "300"], env=server.environ(), start_new_session=True)
        everything = [*supervisors(home), *workers(run), psutil.Process(run.pid)]
        assert len(everything) == 3
        for each in everything:
            each.suspend()
        for each in everything:
            each.kill()
    wait_for(lambda: not any(_lives(each) for each in everything))
    return escaped


def _lives(found: psutil.Process) -> bool:
    return found.is_running() and found.status() != psutil.STATUS_ZOMBIE


def test_a_second_ctrl_c_leaves_nothing_running(tuner: Tuner, home: Path) -> None:
    tuner.create(study("twice-stopped", requests=SLOW))
    with process("run", "twice-stopped") as run:
        wait_for(lambda: measuring(tuner, "twice-stopped"))
        (worker,) = workers(run)
        worker.suspend()  # so that the first one is not answered in time
        run.send_signal(signal.SIGINT)
        wait_for(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)
        run.send_signal(signal.SIGINT)
        assert run.wait(PATIENCE_S) == 130
    assert servers(home) == []
    view = tuner.study("twice-stopped")
    assert (view.counts.running, view.counts.queued, view.workers) == (0, 1, 0)


@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.7, 1.0, 1.4, 1.8])
def test_sigterm_during_the_start_of_a_worker_leaves_nothing_behind(tuner: Tuner, home: Path, after_s: float) -> None:
    tuner.create(study("early", requests=SLOW))
    with process("worker", "early") as worker:
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(after_s)
        worker.terminate()
        assert worker.wait(30) in {130, -signal.SIGTERM}
    assert say("reap").returncode == 0
    assert (running(tuner, "early"), servers(home), tuner.study("early").workers) == ([], [], 0)


def test_a_trial_that_somebody_fails_in_optunas_history_is_cancelled(tuner: Tuner, home: Path) -> None:
    tuner.create(study("foreign", requests=4 * SLOW, budget={"trials": 1}))
    with process("run", "foreign") as run:
        wait_for(lambda: measuring(tuner, "foreign"))
        storage = tuner._store.optuna_storage()
        (trial,) = storage.get_all_trials(storage.get_study_id_from_name("foreign"))
        import optuna  # noqa: PLC0415  only here

        storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
        wait_for(lambda: tuner.trial("foreign", 0).state is TrialState.STOPPED, 30)
        assert run.wait(PATIENCE_S) == 1
    assert tuner.trial("foreign", 0).cause is Cause.CANCELLED
    assert servers(home) == []
