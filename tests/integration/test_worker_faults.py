"""Workers of two studies, workers that die beside living ones, and machines with a proxy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from optuna_tuner import Tuner
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.results.trials import TrialState
from optuna_tuner.results.views import StudyState
from optuna_tuner.spec.study import StudySpec

PATIENCE_S = 60.0
COMMAND = str(Path(sys.executable).with_name("optuna-tuner"))
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers want two CPU cores")


def study(name: str, *, trials: int, requests: int) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": name,
            "model": {"name": "tiny"},
            "engine": {"kind": "fake", "flags": {"ttft_ms": 5}},
            "benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1], "requests": requests},
            "space": {"itl_ms": {"type": "float", "low": 4.0, "high": 5.0}},
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "budget": {"trials": trials},
        }
    )


@pytest.fixture
def tuner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuner]:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPTUNA_TUNER_STORAGE", raising=False)
    front = Tuner()
    yield front
    front.close()


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.kill()


def wait_for(look: Callable[[], object]) -> None:
    assert poll(lambda: look() or None, Deadline.after(PATIENCE_S)), "waited in vain"


def worker_pid(run: subprocess.Popen[bytes], slot: str) -> int | None:
    """The living worker of a slot."""
    for child in psutil.Process(run.pid).children():
        try:
            if any(f'"name":"{slot}"' in word for word in child.cmdline()):
                return child.pid
        except psutil.Error:
            continue
    return None


def measuring(tuner: Tuner, name: str) -> bool:
    return any(trial.phase == "benchmark" for trial in tuner.trials(name) if trial.state is TrialState.RUNNING)


def test_two_studies_on_one_machine_leave_each_others_servers_alone(tuner: Tuner) -> None:
    tuner.create(study("long", trials=1, requests=40))
    tuner.create(study("short", trials=4, requests=2))
    with process("worker", "long") as slow:
        wait_for(lambda: measuring(tuner, "long"))
        with process("worker", "short") as quick:
            assert quick.wait(PATIENCE_S) == 0
        assert slow.wait(PATIENCE_S) == 0
    for name in ("long", "short"):
        assert {trial.state for trial in tuner.trials(name)} == {TrialState.FEASIBLE}


def test_a_worker_that_dies_is_started_again_while_the_one_before_it_still_works(tuner: Tuner) -> None:
    tuner.create(study("pair", trials=40, requests=40))
    with process("run", "pair", "--workers", "2") as run:
        wait_for(lambda: len([trial for trial in tuner.trials("pair") if trial.phase == "benchmark"]) == 2)
        slots = sorted({trial.slot for trial in tuner.trials("pair")})
        first, second = (worker_pid(run, slot) for slot in slots)
        assert first is not None
        assert second is not None
        os.kill(second, signal.SIGKILL)
        wait_for(lambda: worker_pid(run, slots[1]) not in {None, second})
        assert worker_pid(run, slots[0]) == first
        run.terminate()
        assert run.wait(PATIENCE_S) == 130


def test_a_proxy_for_the_world_is_not_asked_for_a_server_on_this_machine(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    spec = study("proxied", trials=1, requests=2)
    view = tuner.run(spec.model_copy(update={"limits": spec.limits.model_copy(update={"startup_s": 10.0})}))
    assert (view.state, view.counts.complete) == (StudyState.DONE, 1)
