"""The order of two steps is a promise where a worker may die between them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import ClassVar, cast

import optuna
import pytest
from pydantic import BaseModel

from optuna_tuner import home
from optuna_tuner.contracts import Benchmark, Deployer, Engine
from optuna_tuner.deployers import local_end, local_server
from optuna_tuner.deployers.local_server import Asked
from optuna_tuner.deployers.supervision.processes import Process
from optuna_tuner.deployers.supervision.record import Record, write_record
from optuna_tuner.errors import DeployerError, StoppedError
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptState, Outcome, ResourceState, StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import deployment, gpus
from optuna_tuner.tuning.deployment import deployed
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.host import this_host
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.reaper import Reaper
from optuna_tuner.tuning.setting import Parts, Setting
from optuna_tuner.tuning.study import create_or_resume
from optuna_tuner.values import Cause, Endpoint, Handle, Launch, Model, Request, Slot, State, Status

MODEL = Model(name="tiny", path="m", tokenizer="m")
LAUNCH = Launch(argv=("serve",), model=MODEL)
SPEC = StudySpec.model_validate(
    {
        "name": "llama",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake"},
        "benchmark": {"kind": "http"},
        "space": {"itl_ms": {"type": "int", "low": 1, "high": 9}},
        "goals": {"objectives": [{"metric": "ttft_ms.p99", "direction": "minimize"}]},
        "limits": {"tries": 2},
    }
)
NO_PID = 2**22 + 1  # above the highest that Linux gives
DONE = Outcome(verdict=Verdict.COMPLETE, values=(1.0,), constraints={"server runs": 0.0})


class WatchedServers(Deployer):
    """A deployer of this host which calls somebody at each step; what is said there is kept."""

    kind: ClassVar[str] = "watched"
    summary: ClassVar[str] = "watched servers"
    host_bound = True
    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self) -> None:
        self.running: dict[str, Handle] = {}
        self.seen: dict[str, object] = {}
        self.at_start: Callable[[], object] = lambda: None
        self.at_stop: Callable[[], object] = lambda: None

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:  # noqa: ARG002  all its servers are equal
        return Request(deployer=self.kind, name=name, body={})

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  it keeps nothing
        self.seen["start"] = self.at_start()
        return self.running.setdefault(request.name, Handle(deployer=self.kind, name=request.name, ref={}))

    def state(self, handle: Handle) -> State:
        return State(status=Status.RUNNING if handle.name in self.running else Status.LOST)

    def endpoint(self, handle: Handle) -> Endpoint | None:  # noqa: ARG002  all the same
        return Endpoint(url="http://127.0.0.1:9", model="tiny")

    def log(self, handle: Handle) -> str:
        return handle.name

    def stop(self, handle: Handle, grace_s: float) -> None:  # noqa: ARG002  it takes no time
        self.seen["stop"] = self.at_stop()
        self.running.pop(handle.name, None)

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        return [handle for name, handle in self.running.items() if name == f"tuner-{labels['attempt']}"]


@pytest.fixture
def servers() -> WatchedServers:
    return WatchedServers()


@pytest.fixture
def setting(store: Store, study: StudyRecord, worker: WorkerRecord, servers: WatchedServers) -> Setting:
    unused = SimpleNamespace()
    return Setting(
        study_id=study.id,
        worker_id=worker.id,
        spec=SPEC,
        parts=Parts(engine=cast("Engine", unused), deployer=servers, benchmark=cast("Benchmark", unused)),
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


@pytest.fixture
def stranger() -> Iterator[int]:
    """A port on which somebody listens whom we do not know."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_is_in_the_ledger_before_it_is_started_and_until_it_is_stopped(
    setting: Setting, journal: Journal, servers: WatchedServers
) -> None:
    def ledger() -> list[ResourceState]:
        return [each.state for each in setting.store.ledger.open_of(setting.worker_id)]

    servers.at_start = servers.at_stop = ledger
    with deployed(setting, LAUNCH, journal, Event()):
        assert servers.running
    assert servers.seen == {"start": [ResourceState.INTENT], "stop": [ResourceState.CREATED]}
    assert setting.store.ledger.get(journal.attempt.id).state is ResourceState.GONE


def test_a_server_that_does_not_end_stays_in_the_ledger(
    setting: Setting, journal: Journal, servers: WatchedServers
) -> None:
    def refuse() -> None:
        raise DeployerError("it does not end")

    servers.at_stop = refuse
    with deployed(setting, LAUNCH, journal, Event()):
        pass
    assert setting.store.ledger.get(journal.attempt.id).state is ResourceState.CREATED


def test_a_server_whose_gpu_does_not_come_back_stays_in_the_ledger(
    setting: Setting, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "come_back", lambda _uuids: False)
    with deployed(setting, LAUNCH, journal, Event()):
        pass
    assert setting.store.ledger.get(journal.attempt.id).state is ResourceState.CREATED


def test_nothing_is_started_on_a_gpu_that_somebody_fills(
    setting: Setting, journal: Journal, servers: WatchedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "busy", lambda _uuids: "process 7 fills it")
    with pytest.raises(DeployerError) as caught, deployed(setting, LAUNCH, journal, Event()):
        pass
    assert (caught.value.cause, servers.seen) == (Cause.DEVICE_BUSY, {})


def test_a_worker_that_is_fenced_before_its_server_starts_starts_none(
    setting: Setting, journal: Journal, servers: WatchedServers
) -> None:
    setting.store.workers.retire(setting.worker_id)
    with pytest.raises(StoppedError), deployed(setting, LAUNCH, journal, Event()):
        pass
    assert servers.seen == {}


def test_a_worker_that_is_fenced_while_its_server_starts_stops_it_at_once(
    setting: Setting, journal: Journal, servers: WatchedServers
) -> None:
    servers.at_start = lambda: setting.store.workers.retire(setting.worker_id)
    with pytest.raises(StoppedError), deployed(setting, LAUNCH, journal, Event()):
        pass
    assert servers.running == {}


def reaper(setting: Setting) -> Reaper:
    return Reaper(setting.store, setting.study_id, SPEC.limits, lambda _study, _kind: setting.parts.deployer)


def dead_worker(setting: Setting) -> str:
    """One of this host, whose process is gone."""
    here = this_host()
    row = {"host": here.host, "boot_id": here.boot_id, "pid_start": 1.0, "machine": here.machine}
    worker = setting.store.workers.register(study_id=setting.study_id, slot=setting.slot, pid=NO_PID, **row)  # type: ignore[arg-type]
    return worker.id


def test_a_reaper_fences_a_worker_before_it_ends_its_server_and_that_before_its_attempt(
    setting: Setting, servers: WatchedServers
) -> None:
    store, victim = setting.store, dead_worker(setting)
    attempt = store.attempts.claim(setting.study_id, victim, baseline=False)
    assert attempt is not None
    request = servers.render(LAUNCH, f"tuner-{attempt.id}", {}, setting.slot)
    assert store.ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=victim, request=request)
    servers.start(request, Path())
    servers.at_stop = lambda: (store.workers.get(victim).retired, store.attempts.get(attempt.id).state)
    assert len(reaper(setting).reap().workers) == 1
    assert servers.seen["stop"] == (True, AttemptState.RUNNING)
    assert store.attempts.get(attempt.id).state is AttemptState.ENDED


def test_a_lost_attempt_is_tried_so_often_and_no_more(setting: Setting, store: Store) -> None:
    for _ in range(SPEC.limits.tries):
        assert store.attempts.claim(setting.study_id, dead_worker(setting), baseline=False) is not None
        assert len(reaper(setting).reap().attempts) == 1
    assert [each.state for each in store.attempts.of(setting.study_id)] == [AttemptState.ENDED] * SPEC.limits.tries


def test_an_outcome_counts_as_told_only_when_optuna_knows_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = create_or_resume(store, SPEC.model_copy(update={"name": "told"}))
    slot = Slot(name="s", host="h")
    me = store.workers.register(study_id=record.id, slot=slot, host="h", boot_id="b", pid=1, pid_start=1.0)
    attempt = store.attempts.claim(record.id, me.id, baseline=True)
    assert attempt is not None
    history = History(store, record, SPEC.model_copy(update={"name": "told"}))
    history.ask(attempt)
    store.attempts.end(attempt.id, me.id, DONE, retry=False)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", die)
        with pytest.raises(KeyboardInterrupt):
            history.tell()
    assert [each.id for each in store.attempts.untold(record.id)] == [attempt.id]
    history.tell()
    assert store.attempts.untold(record.id) == ()


def test_a_port_on_which_somebody_still_listens_is_no_confirmed_end(
    stranger: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path))
    home.locks_folder().mkdir(parents=True)
    request = Request(deployer="local", name="tuner-1", body={"labels": {}, "model": "m", "devices": []})
    server = local_server.claim(request, Asked())
    write_record(server.folder, Record(Process(0, 0), stranger))
    with pytest.raises(DeployerError, match=f"port {stranger} is still open"):
        local_end.end(server.refreshed(), 0)
