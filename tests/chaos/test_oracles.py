"""The oracles are shown what they must see: two servers on one GPU, and what is left behind."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import oracles
import pytest
from chaos_events import EVENTS
from checker import Memory, one_server_a_gpu
from oracles import Oracle, left_behind
from proc_table import lives, start_of
from stage import HERE, Stage
from watch import EventLog, phase_in_events

SERVER = str(HERE / "chaos_server.py")
STANDS_STILL = "import signal; signal.pause()"
STUDY = "the-study"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(folder=tmp_path, gpus=2)


@contextmanager
def process(stage: Stage, *command: str, gpu: str, worker: str = "w") -> Iterator[subprocess.Popen[bytes]]:
    marks = {
        "CUDA_VISIBLE_DEVICES": gpu,
        "OPTUNA_TUNER_LEDGER": f"tuner-{worker}",
        "OPTUNA_TUNER_LABELS": json.dumps({"study": STUDY, "worker": worker}),
    }
    with subprocess.Popen([sys.executable, "-I", "-S", *command], env=stage.environment() | marks) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_for(look: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def said(stage: Stage, what: str) -> list[dict[str, str]]:
    events = [json.loads(line) for line in (stage.folder / EVENTS).read_text(encoding="utf-8").splitlines()]
    return [event for event in events if event["what"] == what]


def test_a_server_on_a_gpu_that_another_one_has_says_so_and_ends(stage: Stage) -> None:
    with process(stage, SERVER, gpu="GPU-fake-0", worker="first"):
        wait_for(lambda: said(stage, "listening"))
        with process(stage, SERVER, gpu="GPU-fake-0", worker="second") as second:
            assert second.wait(60) == 1
        with process(stage, SERVER, gpu="GPU-fake-1", worker="third"):
            wait_for(lambda: len(said(stage, "listening")) == 2)
    found = list(one_server_a_gpu(said(stage, "double")))
    assert [violation.name for violation in found] == ["double-gpu"]
    assert "tuner-second met tuner-first" in found[0].evidence


def test_two_live_servers_that_name_one_gpu_are_seen_from_outside(stage: Stage) -> None:
    with Oracle(stage.folder, stage.storage, STUDY) as oracle, ExitStack() as servers:
        for gpu, worker in (("GPU-fake-0", "a"), ("GPU-fake-1", "b")):
            servers.enter_context(process(stage, "-c", STANDS_STILL, SERVER, gpu=gpu, worker=worker))
        looks = oracle.looks
        wait_for(lambda: oracle.looks > looks + 1)
        assert oracle.memory == Memory()
        servers.enter_context(process(stage, "-c", STANDS_STILL, SERVER, gpu="GPU-fake-1", worker="c"))
        wait_for(lambda: oracle.memory.violations)
    assert {violation.name for violation in oracle.memory.violations} == {"double-gpu"}
    assert "tuner-b" in oracle.memory.violations[0].evidence
    assert "tuner-c" in oracle.memory.violations[0].evidence


def test_a_server_that_outlives_its_worker_is_an_orphan(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracles, "ORPHAN_S", 1.0)
    with ExitStack() as stack:
        database = stack.enter_context(closing(sqlite3.connect(stage.folder / "studies.db")))
        database.execute("CREATE TABLE tuner_worker (id, pid INT, pid_start REAL)")
        worker = stack.enter_context(process(stage, "-c", STANDS_STILL, gpu=""))
        database.execute("INSERT INTO tuner_worker VALUES ('w', ?, ?)", (worker.pid, start_of(worker.pid)))
        database.commit()
        server = stack.enter_context(process(stage, "-c", STANDS_STILL, SERVER, gpu="GPU-fake-0", worker="w"))
        oracle = stack.enter_context(Oracle(stage.folder, stage.storage, STUDY))
        wait_for(lambda: oracle.looks > 3)
        assert oracle.memory.violations == []
        worker.kill()
        wait_for(lambda: oracle.memory.violations)
    assert [violation.name for violation in oracle.memory.violations] == ["orphan"]
    assert f"server pid {server.pid}" in oracle.memory.violations[0].evidence


def test_whatever_is_left_behind_is_named(stage: Stage) -> None:
    with process(stage, "-c", STANDS_STILL, SERVER, gpu="") as left:
        found, waited = left_behind(stage.folder, STUDY, patience_s=0.5)
        assert waited > 0.5
        assert any(f"pid {left.pid}:" in violation.evidence for violation in found)
    assert left_behind(stage.folder, STUDY)[0] == []


def test_a_zombie_and_a_later_process_of_the_same_pid_do_not_live(stage: Stage) -> None:
    with process(stage, "-c", STANDS_STILL, gpu="") as child:
        start = start_of(child.pid)
        assert start is not None
        assert not lives(child.pid, start + 1)
        child.kill()
        wait_for(lambda: not lives(child.pid, start))  # nobody has waited for it yet
        assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is not None


def test_the_phase_of_an_event_follows_from_those_before_it(stage: Stage) -> None:
    log = EventLog(stage.events)
    order = ["server-start", "flood-begin", "listening", "warm-up", "flood-begin", "measure", "flood-begin"]
    order += ["report", "term", "flood-begin"]
    lines = [json.dumps({"what": what, "server": "s"}) for what in order]
    stage.events.write_text("\n".join(lines) + '\n{"what": "half', encoding="utf-8")
    log.read()
    log.close()
    events = log.of_server["s"]
    phases = [phase_in_events(events, at) for at, event in enumerate(events) if event["what"] == "flood-begin"]
    assert phases == ["start_up", "warm_up", "benchmark", "teardown"]
