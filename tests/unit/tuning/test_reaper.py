"""What a reaper takes back from whom, and from whom it must not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest
from pydantic import BaseModel

from optuna_tuner.contracts import Benchmark, Deployer, Engine
from optuna_tuner.errors import DeployerError
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptState, ResourceState, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import reaper as reaper_module
from optuna_tuner.tuning.host import Identity, this_host
from optuna_tuner.tuning.reaper import LOOK_COUNTS_S, TTL_S, Reaper
from optuna_tuner.tuning.setting import Parts, Setting
from optuna_tuner.values import Cause, Endpoint, Handle, Launch, Model, Request, Slot, State, Status

SLOT = Slot(name="0", host="h")
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


class ListedServers(Deployer):
    """A deployer whose servers are a list of attempts; `refuses` makes it fail to stop them."""

    kind: ClassVar[str] = "listed"
    summary: ClassVar[str] = "a list"
    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, *running: str) -> None:
        self.running = set(running)
        self.refuses: Exception | None = None

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:
        raise NotImplementedError

    def start(self, request: Request, folder: Path) -> Handle:
        raise NotImplementedError

    def state(self, handle: Handle) -> State:
        return State(status=Status.RUNNING if handle.name in self.running else Status.LOST)

    def endpoint(self, handle: Handle) -> Endpoint | None:
        raise NotImplementedError

    def log(self, handle: Handle) -> str:
        return handle.name

    def stop(self, handle: Handle, grace_s: float) -> None:  # noqa: ARG002  it takes no time
        if self.refuses:
            raise self.refuses
        self.running.discard(handle.name)

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        return [Handle(deployer=self.kind, name=each, ref={}) for each in self.running & {labels["attempt"]}]


def register(store: Store, study: StudyRecord, who: Identity) -> WorkerRecord:
    return store.workers.register(
        study_id=study.id, slot=SLOT, host=who.host, boot_id=who.boot_id, pid=who.pid, pid_start=who.pid_start
    )


def changed(who: Identity, **fields: object) -> Identity:
    return Identity(**({"host": who.host, "boot_id": who.boot_id, "pid": who.pid, "pid_start": who.pid_start} | fields))  # type: ignore[arg-type]


def dead() -> Identity:
    return changed(this_host(), pid=2**22 + 1)  # above the highest pid that Linux gives


def reaper(store: Store, study: StudyRecord, deployer: Deployer, mine: WorkerRecord | None = None) -> Reaper:
    unused = SimpleNamespace()
    return Reaper(
        Setting(
            study_id=study.id,
            worker_id=(mine or register(store, study, this_host())).id,
            spec=SPEC,
            parts=Parts(engine=cast("Engine", unused), deployer=deployer, benchmark=cast("Benchmark", unused)),
            model=Model(name="m", path="m", tokenizer="m"),
            slot=SLOT,
            store=store,
        )
    )


def serve(store: Store, study: StudyRecord, worker: WorkerRecord) -> str:
    """Let the worker run an attempt with a server; returns the attempt's id."""
    attempt = store.attempts.claim(study.id, worker.id, baseline=False)
    assert attempt is not None
    request = Request(deployer="listed", name=attempt.id, body={})
    assert store.ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=worker.id, request=request)
    return attempt.id


def test_a_dead_workers_server_is_ended_and_its_parameters_wait_again(store: Store, study: StudyRecord) -> None:
    lost = serve(store, study, register(store, study, dead()))
    servers = ListedServers(lost)
    assert reaper(store, study, servers).reap() == 1
    outcome = store.attempts.get(lost).outcome
    assert outcome is not None
    assert (servers.running, outcome.cause) == (set(), Cause.WORKER_LOST)
    assert store.ledger.get(lost).state is ResourceState.GONE
    assert [each.tries for each in store.attempts.of(study.id) if each.state is AttemptState.QUEUED] == [2]


def test_a_server_of_another_study_is_left_alone_while_its_worker_lives(store: Store, study: StudyRecord) -> None:
    other = store.studies.add(name="other", spec_json="{}", space_hash="o" * 64, budget=1)
    busy = serve(store, other, register(store, other, this_host()))
    servers = ListedServers(busy)
    reaper(store, study, servers).reap()
    assert servers.running == {busy}
    assert store.ledger.get(busy).state is ResourceState.INTENT


def test_what_a_reaper_that_died_half_way_left_is_finished_by_the_next(store: Store, study: StudyRecord) -> None:
    victim = register(store, study, dead())
    lost = serve(store, study, victim)
    store.workers.retire(victim.id)  # the first step of a reaper that was killed after it
    servers = ListedServers(lost)
    reaper(store, study, servers).reap()
    assert (servers.running, store.attempts.running(study.id)) == (set(), ())


@pytest.mark.parametrize("error", [DeployerError("busy"), OSError("no file descriptors left")])
def test_a_server_that_its_own_worker_could_not_take_down_is_ended_before_its_next_trial(
    store: Store, study: StudyRecord, error: Exception
) -> None:
    mine = register(store, study, this_host())
    left = serve(store, study, mine)
    servers = ListedServers(left)
    servers.refuses = error
    own = reaper(store, study, servers, mine)
    own.reap()
    assert servers.running == {left}
    servers.refuses = None
    own.reap()
    assert servers.running == set()
    assert store.ledger.get(left).state is ResourceState.GONE


def test_a_cancelled_trial_of_a_dead_worker_is_not_tried_again(store: Store, study: StudyRecord) -> None:
    lost = serve(store, study, register(store, study, dead()))
    store.attempts.request_cancel(lost)
    reaper(store, study, ListedServers(lost)).reap()
    outcome = store.attempts.get(lost).outcome
    assert outcome is not None
    assert outcome.cause is Cause.CANCELLED
    assert len(store.attempts.of(study.id)) == 1


@pytest.mark.parametrize(
    "elsewhere",
    [{"host": "far"}, {"boot_id": "another machine of the same name"}, {"boot_id": "another pid namespace"}],
)
def test_a_process_that_cannot_be_seen_from_here_is_not_taken_for_dead(
    store: Store, study: StudyRecord, elsewhere: dict[str, str]
) -> None:
    register(store, study, changed(dead(), **elsewhere))
    assert reaper(store, study, ListedServers()).reap() == 0


def test_a_pid_that_came_again_is_no_sign_of_life(store: Store, study: StudyRecord) -> None:
    register(store, study, changed(this_host(), pid_start=this_host().pid_start - 1))
    assert reaper(store, study, ListedServers()).reap() == 1


def test_a_process_is_known_by_ticks_that_no_clock_moves() -> None:
    stat = Path("/proc/self/stat").read_text(encoding="utf-8")
    assert this_host().pid_start == int(stat.rpartition(")")[2].split()[19])
    assert this_host().pid == os.getpid()


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1000.0
        monkeypatch.setattr(reaper_module, "now", lambda: self.at)


def test_a_far_worker_is_dead_when_its_beat_stood_still_for_long_enough(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    register(store, study, changed(this_host(), host="far"))
    watcher = reaper(store, study, ListedServers())
    found = []
    for _ in range(int(TTL_S) + 2):
        found.append(watcher.reap())
        clock.at += 1.0
    assert (found[:-1], found[-1]) == ([0] * (int(TTL_S) + 1), 1)


def test_a_far_worker_is_not_dead_because_nobody_could_look_for_a_while(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage of the database the watcher may look before the worker's next beat arrives."""
    clock = Clock(monkeypatch)
    far = register(store, study, changed(this_host(), host="far"))
    watcher = reaper(store, study, ListedServers())
    watcher.reap()
    clock.at += 10 * TTL_S
    assert watcher.reap() == 0
    store.workers.beat(far.id, None)
    clock.at += LOOK_COUNTS_S
    assert watcher.reap() == 0
