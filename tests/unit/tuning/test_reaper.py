"""What a reaper takes back from whom, and from whom it must not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

from optuna_tuner.contracts import Deployer
from optuna_tuner.errors import DeployerError
from optuna_tuner.spec.study import Limits
from optuna_tuner.store.records import AttemptState, Desired, ResourceState, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import leases as leases_module
from optuna_tuner.tuning import reaper as reaper_module
from optuna_tuner.tuning.host import Identity, this_host
from optuna_tuner.tuning.reaper import PAUSE_S, Reaper
from optuna_tuner.values import Cause, Endpoint, Handle, Launch, Request, Slot, State, Status

SLOT = Slot(name="0", host="h")
LIMITS = Limits(lease_s=60)


class ListedServers(Deployer):
    """A deployer whose servers are a list of attempts; `refuses` makes it fail to stop them."""

    kind: ClassVar[str] = "listed"
    summary: ClassVar[str] = "a list"
    Options: ClassVar[type[BaseModel]] = BaseModel
    host_bound = False

    def __init__(self, *running: str) -> None:
        self.running = set(running)
        self.asked = 0
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
        self.asked += 1
        return [Handle(deployer=self.kind, name=each, ref={}) for each in self.running & {labels["attempt"]}]


def register(store: Store, study: StudyRecord, who: Identity) -> WorkerRecord:
    return store.workers.register(
        study_id=study.id,
        slot=SLOT,
        host=who.host,
        boot_id=who.boot_id,
        pid=who.pid,
        pid_start=who.pid_start,
        machine=who.machine,
    )


def changed(who: Identity, **fields: object) -> Identity:
    return replace(who, **fields)  # type: ignore[arg-type]


def dead() -> Identity:
    return changed(this_host(), pid=2**22 + 1)  # above the highest pid that Linux gives


def reaper(store: Store, study: StudyRecord, deployer: Deployer, *, everywhere: bool = False) -> Reaper:
    return Reaper(store, study.id, LIMITS, lambda _study, _kind: deployer, everywhere=everywhere)


def serve(store: Store, study: StudyRecord, worker: WorkerRecord) -> str:
    """Let the worker run an attempt with a server; returns the attempt's id."""
    attempt = store.attempts.claim(study.id, worker.id, baseline=False)
    assert attempt is not None
    request = Request(deployer="listed", name=attempt.id, body={})
    assert store.ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=worker.id, request=request)
    return attempt.id


def test_a_dead_workers_server_is_ended_and_its_parameters_wait_again(store: Store, study: StudyRecord) -> None:
    victim = register(store, study, dead())
    lost = serve(store, study, victim)
    servers = ListedServers(lost)
    reaped = reaper(store, study, servers).reap()
    assert [each.id for each in reaped.workers] == [victim.id]
    assert (reaped.servers, [each.attempt.id for each in reaped.attempts], reaped.left) == ((lost,), [lost], ())
    outcome = store.attempts.get(lost).outcome
    assert outcome is not None
    assert (servers.running, outcome.cause) == (set(), Cause.WORKER_LOST)
    assert store.ledger.get(lost).state is ResourceState.GONE
    assert [each.tries for each in store.attempts.of(study.id) if each.state is AttemptState.QUEUED] == [2]


def test_a_second_reaper_finds_nothing_left_to_do(store: Store, study: StudyRecord) -> None:
    lost = serve(store, study, register(store, study, dead()))
    servers = ListedServers(lost)
    first, second = reaper(store, study, servers), reaper(store, study, servers)
    first.reap()
    reaped = second.reap()
    assert (reaped.workers, reaped.servers, reaped.attempts, reaped.left) == ((), (), (), ())
    assert len(store.attempts.of(study.id)) == 2


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_server_of_another_study_is_left_alone_while_its_worker_lives(
    store: Store, study: StudyRecord, *, everywhere: bool
) -> None:
    other = store.studies.add(name="other", spec_json="{}", space_hash="o" * 64, budget=1)
    busy = serve(store, other, register(store, other, this_host()))
    servers = ListedServers(busy)
    reaper(store, study, servers, everywhere=everywhere).reap()
    assert servers.running == {busy}
    assert store.ledger.get(busy).state is ResourceState.INTENT


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_retired_workers_server_of_another_study_is_ended_by_workers_alone(
    store: Store, study: StudyRecord, *, everywhere: bool
) -> None:
    other = store.studies.add(name="other", spec_json="{}", space_hash="o" * 64, budget=1)
    victim = register(store, other, this_host())
    left = serve(store, other, victim)
    store.workers.retire(victim.id)
    servers = ListedServers(left)
    reaper(store, study, servers, everywhere=everywhere).reap()
    assert servers.running == (set() if everywhere else {left})


def test_what_a_reaper_that_died_half_way_left_is_finished_by_the_next(store: Store, study: StudyRecord) -> None:
    victim = register(store, study, dead())
    lost = serve(store, study, victim)
    store.workers.retire(victim.id)  # the first step of a reaper that was killed after it
    servers = ListedServers(lost)
    reaper(store, study, servers).reap()
    assert (servers.running, store.attempts.running(study.id)) == (set(), ())


@pytest.mark.parametrize("error", [DeployerError("busy"), OSError("no file descriptors left"), ValueError("options")])
def test_a_server_that_its_own_worker_could_not_take_down_is_ended_before_its_next_trial(
    store: Store, study: StudyRecord, error: Exception
) -> None:
    mine = register(store, study, this_host())
    left = serve(store, study, mine)
    servers = ListedServers(left)
    servers.refuses = error
    own = reaper(store, study, servers)
    assert [each.reason for each in own.end_own(mine.id)] == [str(error)]
    assert servers.running == {left}
    servers.refuses = None
    assert own.end_own(mine.id) == ()
    assert servers.running == set()
    assert store.ledger.get(left).state is ResourceState.GONE


def test_a_server_that_cannot_be_ended_does_not_delay_every_look_and_is_tried_again(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    lost = serve(store, study, register(store, study, dead()))
    servers = ListedServers(lost)
    servers.refuses = DeployerError("busy")
    watcher = reaper(store, study, servers)
    assert [(each.server, each.elsewhere) for each in watcher.reap().left] == [(lost, False)]
    assert watcher.reap().left == ()
    assert servers.asked == 1
    assert len(store.attempts.of(study.id)) == 2, "the trial does not wait for the server"
    clock.at += PAUSE_S
    servers.refuses = None
    assert watcher.reap().servers == (lost,)


def test_a_server_that_is_bound_to_another_host_is_left_to_that_host(store: Store, study: StudyRecord) -> None:
    victim = register(store, study, changed(this_host(), host="far", machine="far"))
    lost = serve(store, study, victim)
    store.workers.retire(victim.id)
    servers = ListedServers(lost)
    servers.host_bound = True
    left = reaper(store, study, servers).reap().left
    assert [(each.server, each.elsewhere) for each in left] == [(lost, True)]
    assert (servers.running, store.ledger.get(lost).state) == ({lost}, ResourceState.INTENT)
    assert store.attempts.running(study.id) == (), "its trial is run elsewhere meanwhile"


def test_a_cancelled_trial_of_a_dead_worker_is_not_tried_again(store: Store, study: StudyRecord) -> None:
    lost = serve(store, study, register(store, study, dead()))
    store.attempts.request_cancel(lost)
    reaper(store, study, ListedServers(lost)).reap()
    outcome = store.attempts.get(lost).outcome
    assert outcome is not None
    assert outcome.cause is Cause.CANCELLED
    assert len(store.attempts.of(study.id)) == 1


def test_what_a_dead_worker_ran_in_a_cancelled_study_is_cancelled(store: Store, study: StudyRecord) -> None:
    lost = serve(store, study, register(store, study, dead()))
    store.studies.want(study.id, Desired.CANCEL)
    reaper(store, study, ListedServers(lost)).reap()
    outcome = store.attempts.get(lost).outcome
    assert outcome is not None
    assert (outcome.cause, len(store.attempts.of(study.id))) == (Cause.CANCELLED, 1)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"host": "far", "machine": "far"},
        {"boot_id": "another boot:1", "machine": "another machine of the same name"},
        {"boot_id": f"{this_host().boot_id.partition(':')[0]}:another pid namespace"},
    ],
)
def test_a_process_that_cannot_be_seen_from_here_is_not_taken_for_dead(
    store: Store, study: StudyRecord, elsewhere: dict[str, str]
) -> None:
    register(store, study, changed(dead(), **elsewhere))
    assert reaper(store, study, ListedServers()).reap().workers == ()


def test_a_worker_of_a_machine_that_was_restarted_is_dead_at_once(store: Store, study: StudyRecord) -> None:
    before = register(store, study, changed(this_host(), boot_id="the boot before:1"))
    assert [each.id for each in reaper(store, study, ListedServers()).reap().workers] == [before.id]


def test_a_pid_that_came_again_is_no_sign_of_life(store: Store, study: StudyRecord) -> None:
    register(store, study, changed(this_host(), pid_start=this_host().pid_start - 1))
    assert len(reaper(store, study, ListedServers()).reap().workers) == 1


def test_a_process_is_known_by_ticks_that_no_clock_moves() -> None:
    stat = Path("/proc/self/stat").read_text(encoding="utf-8")
    assert this_host().pid_start == int(stat.rpartition(")")[2].split()[19])
    assert this_host().pid == os.getpid()


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1000.0
        monkeypatch.setattr(reaper_module, "now", lambda: self.at)
        monkeypatch.setattr(leases_module, "now", lambda: self.at)


@pytest.mark.parametrize("who", [{"host": "far", "machine": "far"}, {}])
def test_a_silent_worker_is_dead_when_its_beat_stood_still_for_a_lease_also_if_its_process_lives(
    store: Store, study: StudyRecord, who: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    register(store, study, changed(this_host(), **who))
    watcher = reaper(store, study, ListedServers())
    found = []
    for _ in range(62):
        watcher.look()
        found.append(len(watcher.reap().workers))
        clock.at += 1.0
    assert (found[:-1], found[-1]) == ([0] * 61, 1)


def test_a_worker_is_not_dead_because_nobody_could_look_for_a_while(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage of the database the watcher may look before the worker's next beat arrives."""
    clock = Clock(monkeypatch)
    far = register(store, study, changed(this_host(), host="far", machine="far"))
    watcher = reaper(store, study, ListedServers())
    watcher.look()
    clock.at += 600
    watcher.look()
    assert watcher.reap().workers == ()
    store.workers.beat(far.id, None)
    clock.at += 600
    watcher.look()
    assert watcher.reap().workers == ()


def test_one_that_beat_again_lives_although_it_was_silent_for_a_lease(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    slow = register(store, study, this_host())
    watcher = reaper(store, study, ListedServers())
    for _ in range(62):
        watcher.look()
        clock.at += 1.0
    store.workers.beat(slow.id, None)
    assert watcher.reap().workers == ()
