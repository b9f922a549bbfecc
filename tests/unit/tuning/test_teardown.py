"""A server is taken down whatever else fails."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Event

import pytest
from one_server import ENDPOINT, LAUNCH, OneServer, claimed, setting_of

from optuna_tuner.errors import BenchmarkError, DegradedError, DeployerError, ServerCrashedError, StoreError, TrialError
from optuna_tuner.store.attempts import Attempts
from optuna_tuner.store.records import ResourceState, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import deployment
from optuna_tuner.tuning.deployment import Server, deployed, watched
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.values import (
    Cause,
    Diagnosis,
    Endpoint,
    Handle,
    Load,
    Measurement,
    State,
    Status,
)


@pytest.fixture
def deployer() -> OneServer:
    return OneServer()


@pytest.fixture
def setting(store: Store, study: StudyRecord, worker: WorkerRecord, deployer: OneServer) -> Setting:
    return setting_of(store, study, worker, deployer)


@pytest.fixture
def journal(setting: Setting, tmp_path: Path) -> Journal:
    return claimed(setting, tmp_path)


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
