"""A deployer with at most one server, which starts nothing, and what a worker needs to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

from pydantic import BaseModel

from optuna_tuner.contracts import Benchmark, Deployer, Engine
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.setting import Parts, Setting
from optuna_tuner.values import Endpoint, Handle, Launch, Model, Request, Slot, State, Status

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


def setting_of(store: Store, study: StudyRecord, worker: WorkerRecord, deployer: Deployer) -> Setting:
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


def claimed(setting: Setting, folder: Path) -> Journal:
    attempt = setting.store.attempts.claim(setting.study_id, setting.worker_id, baseline=False)
    assert attempt is not None
    return Journal(setting.store, attempt, folder)
