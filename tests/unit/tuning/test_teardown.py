"""A server is taken down whatever else fails."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest
from pydantic import BaseModel

from optuna_tuner.contracts import Benchmark, Deployer, Engine
from optuna_tuner.errors import BenchmarkError, DegradedError, DeployerError, ServerCrashedError, StoreError, TrialError
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.attempts import Attempts
from optuna_tuner.store.records import ResourceState, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import deployment
from optuna_tuner.tuning.deployment import Server, deployed, watched
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.setting import Parts, Setting
from optuna_tuner.values import (
    Cause,
    Diagnosis,
    Endpoint,
    Handle,
    Launch,
    Load,
    Measurement,
    Model,
    Request,
    Slot,
    State,
    Status,
)

MODEL = Model(name="tiny", path="m", tokenizer="m")
LAUNCH = Launch(argv=("serve",), model=MODEL)
ENDPOINT = Endpoint(url="http://127.0.0.1:9", model="tiny")
SPEC = StudySpec.model_validate(
    {
        "name": "llama",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake"},
        "benchmark": {"kind": "http"},
        "space": {"itl_ms": {"type": "int", "low": 1, "high": 9}},
        "goals": {"objectives": [{"metric": "ttft_ms.p99", "direction": "minimize"}]},
    }
)


class OneServer(Deployer):
    """A deployer with at most one server, which can fail at its log or at its state."""

    kind: ClassVar[str] = "one"
    summary: ClassVar[str] = "one server"
    Options: ClassVar[type[BaseModel]] = BaseModel
    log_error: Exception | None = None
    state_error: Exception | None = None
    ended: State | None = None
    seen_at: int = 1  # which look finds that it has ended

    def __init__(self) -> None:
        self.looks = 0
        self.running: list[Handle] = []

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:  # noqa: ARG002  all its servers are equal
        return Request(deployer=self.kind, name=name, body={})

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  it keeps nothing
        self.running = [Handle(deployer=self.kind, name=request.name, ref={})]
        return self.running[0]

    def state(self, handle: Handle) -> State:
        if self.state_error:
            raise self.state_error
        self.looks += 1
        if self.ended and self.looks >= self.seen_at:
            return self.ended
        return State(status=Status.RUNNING if handle in self.running else Status.LOST)

    def endpoint(self, handle: Handle) -> Endpoint | None:  # noqa: ARG002  there is one
        return ENDPOINT

    def log(self, handle: Handle) -> str:
        if self.log_error:
            raise self.log_error
        return handle.name

    def stop(self, handle: Handle, grace_s: float) -> None:  # noqa: ARG002  it takes no time
        self.running = [each for each in self.running if each != handle]

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:  # noqa: ARG002  there is one
        return tuple(self.running)


@pytest.fixture
def deployer() -> OneServer:
    return OneServer()


@pytest.fixture
def setting(store: Store, study: StudyRecord, worker: WorkerRecord, deployer: OneServer) -> Setting:
    unused = SimpleNamespace()
    return Setting(
        study_id=study.id,
        worker_id=worker.id,
        spec=SPEC,
        parts=Parts(engine=cast("Engine", unused), deployer=deployer, benchmark=cast("Benchmark", unused)),
        model=MODEL,
        slot=worker.slot,
        store=store,
    )


@pytest.fixture
def journal(setting: Setting, tmp_path: Path) -> Journal:
    attempt = setting.store.attempts.claim(setting.study_id, setting.worker_id, baseline=False)
    assert attempt is not None
    return Journal(setting.store, attempt, tmp_path)


@pytest.fixture(autouse=True)
def ready_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "_answers", lambda *_: True)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DeployerError("no log")])
def test_a_log_that_cannot_be_kept_does_not_keep_the_server_alive(
    setting: Setting, journal: Journal, deployer: OneServer, error: Exception
) -> None:
    deployer.log_error = error
    with deployed(setting, LAUNCH, journal, Event()):
        assert deployer.running
    assert deployer.running == []
    assert setting.store.ledger.get(journal.attempt.id).state is ResourceState.GONE


def test_a_database_that_is_away_does_not_keep_the_server_alive(
    setting: Setting, journal: Journal, deployer: OneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> bool:
        raise StoreError("the database is away")

    with deployed(setting, LAUNCH, journal, Event()):
        monkeypatch.setattr(Attempts, "enter", away)
    assert deployer.running == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_measures_on_when_the_watch_has_failed(
    setting: Setting, deployer: OneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "WATCH_EVERY_S", 0.001)
    deployer.state_error = OSError(24, "Too many open files")
    server = Server(endpoint=ENDPOINT, handle=Handle(deployer="one", name="s", ref={}), setting=setting)
    with watched(server, Event()) as ended:
        assert ended.wait(5)


@pytest.mark.parametrize(
    ("cause", "error"), [(Cause.OUT_OF_MEMORY_RUNTIME, ServerCrashedError), (Cause.NODE_LOST, DeployerError)]
)
def test_what_the_deployer_knows_of_an_end_goes_before_the_log(
    setting: Setting, deployer: OneServer, cause: Cause, error: type[TrialError]
) -> None:
    known = Diagnosis(cause=cause, evidence="as it happened")
    deployer.ended = State(status=Status.EXITED, exit_code=137, diagnosis=known)
    with pytest.raises(error) as caught:  # the engine here has no `diagnose`
        deployment.raise_if_ended(setting, Handle(deployer="one", name="s", ref={}))
    assert caught.value.diagnosis == known


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_that_is_not_finite_is_refused_whoever_made_it(journal: Journal, value: float) -> None:
    with pytest.raises(BenchmarkError, match=r"no finite number for ttft_ms\.p99"):
        journal.keep(Measurement(load=Load(value=1), metrics={"ttft_ms.p99": value}))
    assert journal.measurements == []


def test_the_end_of_a_server_that_does_not_listen_any_more_is_waited_for_and_is_the_cause(
    setting: Setting, deployer: OneServer
) -> None:
    known = Diagnosis(cause=Cause.OUT_OF_MEMORY_RUNTIME, evidence="as it happened")
    deployer.ended, deployer.seen_at = State(status=Status.EXITED, exit_code=1, diagnosis=known), 3
    handle = Handle(deployer="one", name="s", ref={})
    deployer.running = [handle]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    server = Server(endpoint=Endpoint(url=url, model="tiny"), handle=handle, setting=setting)
    with pytest.raises(ServerCrashedError) as caught, watched(server, Event()):
        raise DegradedError("0 of 1 requests completed")
    assert caught.value.diagnosis == known
