"""Servers that run elsewhere: the slots of their workers, their time in a queue, and machines that die unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import ClassVar

import httpx
import pytest
from one_server import ENDPOINT, LAUNCH, SPEC, OneServer, claimed, setting_of

from optuna_tuner import home
from optuna_tuner.errors import DegradedError, DeployerError, StoppedError
from optuna_tuner.spec.study import Limits
from optuna_tuner.store.records import StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import deployment
from optuna_tuner.tuning.deployment import Server, deployed, watched
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.tuning.slots import holding, holding_for, slots_for
from optuna_tuner.values import Cause, Handle, Phase, Slot, State, Status

LOST = State(status=Status.LOST, detail="its node is down")


class Far(OneServer):
    """A cluster with two GPUs a server, whose next answers are given."""

    kind: ClassVar[str] = "far"
    answers: Iterator[State] = iter(())
    lag: float = 0.0

    @property
    def gpus(self) -> int:
        return 2

    @property
    def lag_s(self) -> float:
        return self.lag

    def state(self, handle: Handle) -> State:
        return next(self.answers, None) or super().state(handle)


@pytest.fixture
def deployer() -> Far:
    return Far()


@pytest.fixture
def setting(store: Store, study: StudyRecord, worker: WorkerRecord, deployer: Far) -> Setting:
    return setting_of(store, study, worker, deployer)


@pytest.fixture
def journal(setting: Setting, tmp_path: Path) -> Journal:
    return claimed(setting, tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "WATCH_EVERY_S", 0.001)
    monkeypatch.setattr(deployment, "_answers", lambda *_: True)


def queued(times: int) -> Iterator[State]:
    return iter([State(status=Status.QUEUED, detail="it waits for a node")] * times)


def test_a_slot_elsewhere_counts_gpus_and_locks_nothing(
    deployer: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path))
    one, two = slots_for(deployer, 2)
    assert (one.name, two.name, one.gpus, one.devices) == ("far-0", "far-1", ("far-gpu-0", "far-gpu-1"), ())
    with holding(one), holding(one), holding_for(deployer) as free, holding_for(deployer, "mine") as named:
        assert (free, named.name) == (one, "mine")
    assert list(tmp_path.iterdir()) == []


def test_an_older_programs_slot_is_of_its_host() -> None:
    assert Slot(name="gpu-0", host="here", gpus=("GPU-a",)).devices == ("gpu-GPU-a",)


def test_time_in_a_queue_is_no_start_up(setting: Setting, journal: Journal, deployer: Far) -> None:
    before = journal.phases_s[Phase.QUEUE]
    deployer.answers = queued(20)
    with deployed(setting, LAUNCH, journal, Event()):
        assert journal.phases_s[Phase.QUEUE] > before + 0.01
        assert next(deployer.answers, None) is None


def test_a_queue_without_end_is_the_machines_fault(setting: Setting, journal: Journal, deployer: Far) -> None:
    hasty = replace(setting, spec=SPEC.model_copy(update={"limits": Limits(queue_s=0.01)}))
    deployer.answers = queued(10_000)
    why = r"no machine within 0.01 s \(limits.queue_s\): it waits for a node"
    with pytest.raises(DeployerError, match=why) as caught, deployed(hasty, LAUNCH, journal, Event()):
        pytest.fail("it was never given a machine")
    assert caught.value.cause is Cause.DEPLOYER_FAILED
    assert deployer.running == []


def test_who_waits_in_a_queue_can_be_stopped(setting: Setting, journal: Journal, deployer: Far) -> None:
    stop = Event()
    stop.set()
    deployer.answers = queued(10_000)
    with pytest.raises(StoppedError), deployed(setting, LAUNCH, journal, stop):
        pytest.fail("it was never given a machine")
    assert deployer.running == []


def silent(*_: object) -> httpx.Response:
    raise httpx.ConnectError("no route to host")


def answering(*_: object) -> httpx.Response:
    return httpx.Response(404)


@pytest.mark.parametrize(("answer", "error"), [(silent, DeployerError), (answering, DegradedError)])
def test_nobody_is_blamed_for_a_machine_that_died_before_its_cluster_knows(
    setting: Setting,
    deployer: Far,
    monkeypatch: pytest.MonkeyPatch,
    answer: object,
    error: type[Exception],
) -> None:
    """A server that still answers is to blame itself, and nothing is waited for."""
    monkeypatch.setattr(deployment, "get", answer)
    deployer.lag = 60.0
    handle = deployer.start(deployer.render(LAUNCH, "s", {}, setting.slot), Path())
    deployer.answers = iter([*[State(status=Status.RUNNING)] * 3, *[LOST] * 1000]) if answer is silent else iter(())
    with pytest.raises(error), watched(Server(endpoint=ENDPOINT, handle=handle, setting=setting), Event()):
        raise DegradedError("all requests failed")


def test_a_server_that_only_hangs_is_to_blame_after_the_clusters_lag(
    setting: Setting,
    deployer: Far,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deployment, "get", silent)
    monkeypatch.setattr(deployment, "END_IS_SEEN_S", 0.0)
    deployer.lag = 0.02
    handle = deployer.start(deployer.render(LAUNCH, "s", {}, setting.slot), Path())
    with pytest.raises(DegradedError), watched(Server(endpoint=ENDPOINT, handle=handle, setting=setting), Event()):
        raise DegradedError("all requests failed")
