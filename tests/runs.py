"""Real runs of fake servers: started as a user starts them, watched and wounded from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from optuna_tuner import Tuner
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.spec.study import StudySpec

PATIENCE_S = 120.0
COMMAND = str(Path(sys.executable).with_name("optuna-tuner"))
FAKE_SERVER = "optuna_tuner.testing.fake_server"
SUPERVISOR = "optuna-tuner-supervisor"
QUICK, SLOW = 2, 40  # requests of a trial: some tenths of a second, some ten seconds


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything of this test lies there."""
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPTUNA_TUNER_STORAGE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def tuner(home: Path) -> Iterator[Tuner]:
    """On SQLite; at the end no server of it may be left."""
    front = Tuner()
    yield front
    front.close()
    wait_for(lambda: not servers(home))


def study(name: str, *, requests: int = QUICK, **changes: object) -> StudySpec:
    document: dict[str, object] = {
        "name": name,
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "flags": {"ttft_ms": 5}},
        "benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1], "requests": requests},
        "space": {"itl_ms": {"type": "float", "low": 4.0, "high": 5.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "budget": {"trials": 2},
        "limits": {"teardown_s": 5},
    }
    return StudySpec.model_validate(document | changes)


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`optuna-tuner ARGUMENTS`, killed at the end."""
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as started:
        try:
            yield started
        finally:
            started.kill()


def say(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `optuna-tuner ARGUMENTS` prints and returns."""
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def wait_for(look: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    assert poll(lambda: look() or None, Deadline.after(seconds)), "waited in vain"


def models_at(port: int) -> Sequence[str]:
    """What a server on this machine serves; nothing while it does not answer."""
    with suppress(httpx.HTTPError):
        return [each["id"] for each in httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]]
    return []


def workers(run: subprocess.Popen[bytes]) -> Sequence[psutil.Process]:
    """The worker processes of a `run` that live."""
    return [child for child in psutil.Process(run.pid).children() if _says(child, "optuna_tuner.tuning.process")]


def worker_of(run: subprocess.Popen[bytes], slot: str) -> psutil.Process | None:
    """The living worker of a slot."""
    return next((child for child in workers(run) if _says(child, f'"name":"{slot}"')), None)


def servers(home: Path, attempt_id: str = "") -> Sequence[psutil.Process]:
    """Fake servers of this home that live, whoever started them."""
    return _marked(home, attempt_id, FAKE_SERVER)


def supervisors(home: Path, attempt_id: str = "") -> Sequence[psutil.Process]:
    """Supervisors of the servers of this home."""
    known = {parent.pid for server in servers(home, attempt_id) for parent in server.parents()}
    return [each for each in psutil.process_iter() if each.pid in known and _says(each, SUPERVISOR)]


def running(tuner: Tuner, name: str) -> Sequence[TrialView]:
    return [trial for trial in tuner.trials(name) if trial.state is TrialState.RUNNING]


def measuring(tuner: Tuner, name: str) -> Sequence[TrialView]:
    return [trial for trial in running(tuner, name) if trial.phase == "benchmark"]


def _marked(home: Path, attempt_id: str, program: str) -> Sequence[psutil.Process]:
    def ours(process: psutil.Process) -> bool:
        try:
            environment = process.environ() if program in process.cmdline() else {}
        except psutil.Error:
            return False
        return environment.get("OPTUNA_TUNER_HOME") == str(home) and attempt_id in environment["OPTUNA_TUNER_LEDGER"]

    return [process for process in psutil.process_iter() if ours(process)]


def _says(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in argument for argument in process.cmdline())
    except psutil.Error:
        return False
