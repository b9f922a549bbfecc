"""What a cluster does wrongly, played by the fake one: whose fault it is, and that nothing stays behind."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from clusters import IMAGE
from pydantic import JsonValue

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers import kubernetes, kubernetes_cluster
from optuna_tuner.deployers.kubernetes import Kubernetes
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.fake_cluster import FakeCluster
from optuna_tuner.values import Cause, Handle, Launch, Model, Slot, State, Status

PATIENCE_S = 120.0
MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
LAUNCH = Launch(argv=(sys.executable, "-c", small_servers.ANSWERS, "{host}", "{port}"), model=MODEL, image=IMAGE)
SLOT = Slot(name="kubernetes-0", host="here", elsewhere=True)
OURS = ("jobs", "pods", "services", "secrets")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


def deployer(cluster: FakeCluster, **more: JsonValue) -> Kubernetes:
    """One that asks for every state anew."""
    options: dict[str, JsonValue] = {"kubeconfig": str(cluster.kubeconfig), "poll_s": 0.2, "reach": "service"}
    return Kubernetes(KubernetesOptions.model_validate({**options, **more}))


@contextmanager
def started(cluster: FakeCluster, launch: Launch = LAUNCH, **more: JsonValue) -> Iterator[tuple[Kubernetes, Handle]]:
    """A server that is stopped in the end; then nothing is left of it."""
    ours = deployer(cluster, **more)
    handle = ours.start(ours.render(launch, "case-1", {"attempt": "a1"}, SLOT), Path())
    try:
        yield ours, handle
    finally:
        ours.stop(handle, 1)
        assert poll(lambda: None if cluster.names(*OURS) else True, Deadline.after(PATIENCE_S))


def until(ours: Kubernetes, handle: Handle, status: Status) -> State:
    def look() -> State | None:
        state = ours.state(handle)
        return state if state.status is status else None

    found = poll(look, Deadline.after(PATIENCE_S))
    assert found is not None, f"never {status}: {ours.state(handle)}"
    return found


def refused(ours: Kubernetes, handle: Handle) -> str:
    """What it says when it will never begin."""

    def look() -> str | None:
        try:
            ours.state(handle)
        except DeployerError as error:
            return str(error)
        return None

    found = poll(look, Deadline.after(PATIENCE_S))
    assert found is not None, f"it may begin: {ours.state(handle)}"
    return found


def test_a_server_is_reached_by_its_service_and_gets_its_secret(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "sesame")
    says = f"import os; print(os.environ['TOKEN'], '$(TOKEN)', flush=True)\n{small_servers.ANSWERS}"
    argv = (sys.executable, "-c", says, "{host}", "{port}")
    with started(fake_cluster, replace(LAUNCH, argv=argv, secrets={"TOKEN": "MY_TOKEN"})) as (ours, handle):
        endpoint = poll(lambda: ours.endpoint(handle), Deadline.after(PATIENCE_S))
        assert endpoint is not None
        assert httpx.get(f"{endpoint.url}/health", timeout=PATIENCE_S).text == "ok"
        assert ours.log(handle).startswith("sesame $(TOKEN)\n")
        assert sorted(fake_cluster.names("secrets", "services")) == ["secrets case-1", "services case-1"]


def test_servers_wait_for_gpus_that_others_have(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster, gpus=2) as (ours, one):
        until(ours, one, Status.RUNNING)
        two = ours.start(ours.render(LAUNCH, "case-2", {}, SLOT), Path())
        told = poll(lambda: "Insufficient nvidia.com/gpu" in ours.state(two).detail or None, Deadline.after(PATIENCE_S))
        assert (told, ours.state(two).status) == (True, Status.QUEUED)
        ours.stop(one, 1)
        until(ours, two, Status.RUNNING)
        ours.stop(two, 1)


def test_a_quota_that_others_use_up_is_waited_for(fake_cluster: FakeCluster) -> None:
    fake_cluster.controllers.quota = {"requests.nvidia.com/gpu": 1}
    with started(fake_cluster, gpus=1) as (ours, one):
        until(ours, one, Status.RUNNING)
        two = ours.start(ours.render(LAUNCH, "case-2", {}, SLOT), Path())
        told = poll(lambda: "waits for its quota" in ours.state(two).detail or None, Deadline.after(PATIENCE_S))
        assert told, ours.state(two)
        ours.stop(one, 1)
        until(ours, two, Status.RUNNING)
        ours.stop(two, 1)


@pytest.mark.parametrize(
    ("launch", "options", "why"),
    [
        (replace(LAUNCH, image="nobody/has-it:1"), {}, 'ImagePullBackOff: Back-off pulling image "nobody/has-it:1"'),
        (
            replace(LAUNCH, argv=("no-such-command",)),
            {},
            'StartError: exec: "no-such-command": executable file not found',
        ),
        (LAUNCH, {"volumes": [{"claim": "nope", "target": "/models"}]}, 'persistentvolumeclaim "nope" not found'),
        (LAUNCH, {"gpus": 9}, "quota never allows requests.nvidia.com/gpu=9"),
    ],
)
def test_what_will_never_begin_is_told(
    fake_cluster: FakeCluster, launch: Launch, options: dict[str, JsonValue], why: str
) -> None:
    fake_cluster.controllers.quota = {"requests.nvidia.com/gpu": 8}
    with started(fake_cluster, launch, **options) as (ours, handle):
        assert why in refused(ours, handle)


def test_memory_that_runs_out_is_the_configurations_fault(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.run_out_of_memory("case-1")
        diagnosis = until(ours, handle, Status.EXITED).diagnosis
        assert diagnosis is not None
        assert diagnosis.cause is Cause.OUT_OF_MEMORY_RUNTIME


def test_who_takes_a_pod_away_is_told_and_the_machine_is_to_blame(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.controllers.holds_deletions = True  # it would be gone before anybody looks
        fake_cluster.disrupt("case-1", "PreemptionByScheduler", "a better pod came")
        assert "a better pod came" in until(ours, handle, Status.LOST).detail
        fake_cluster.controllers.holds_deletions = False


def test_an_eviction_is_the_machines_fault(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.evict("case-1", "The node was low on resource: memory.")
        assert "low on resource" in until(ours, handle, Status.LOST).detail


def test_a_pod_that_somebody_deletes_is_lost(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.delete_pod("case-1")
        assert re.search("delete[sd] its pod", until(ours, handle, Status.LOST).detail)


def test_a_deadline_ends_a_server_that_nobody_ends(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster, max_life_s=1) as (ours, handle):
        until(ours, handle, Status.LOST)
        told = poll(lambda: "max_life_s" in ours.state(handle).detail or None, Deadline.after(PATIENCE_S))
        assert told, ours.state(handle)


def test_a_node_that_is_lost_is_believed_only_when_the_cluster_says_so_and_its_pod_is_not_forgotten(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_END_S", 0.5)
    ours = deployer(fake_cluster)
    handle = ours.start(ours.render(LAUNCH, "case-1", {"attempt": "a1"}, SLOT), Path())
    assert poll(lambda: ours.endpoint(handle), Deadline.after(PATIENCE_S))
    fake_cluster.lose_node()
    assert ours.state(handle).status is Status.RUNNING
    fake_cluster.miss_node()
    assert "node does not answer" in until(ours, handle, Status.LOST).detail
    with pytest.raises(DeployerError, match="does not end, although it was deleted"):
        ours.stop(handle, 0)
    assert [each.name for each in ours.find({"attempt": "a1"})] == ["case-1"]


def test_a_pod_that_is_over_is_not_waited_for_although_its_object_stays(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_cluster, "_LINGERING_S", 0.5)
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.controllers.holds_deletions = True
        ours.stop(handle, 0)
        assert (len(fake_cluster.names("pods")), ours.find({})) == (1, ())
        fake_cluster.controllers.holds_deletions = False


def test_a_pod_whose_node_tells_of_its_end_too_early_is_waited_for(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_END_S", 0.5)
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.lose_node()
        fake_cluster.evict_by_word("case-1")
        with pytest.raises(DeployerError, match="does not end, although it was deleted"):
            ours.stop(handle, 0)
        fake_cluster.kubelet.up = True
        monkeypatch.undo()


def test_an_api_server_that_is_away_is_borne_for_a_while(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.api.away = True
        assert ours.state(handle).status is Status.RUNNING
        with pytest.raises(DeployerError, match=r"refuses \(503\): apiserver not ready"):
            ours.find({})
        fake_cluster.api.away = False


@pytest.mark.parametrize(
    ("options", "forbidden", "why"),
    [
        ({"namespace": "nope"}, set(), 'namespaces "nope" not found'),
        ({"patch": {"spec": {"nope": 1}}}, set(), 'strict decoding error: unknown field "spec.nope"'),
        ({"patch": {"spec": {"template": {"spec": {"hostIPC": "yes"}}}}}, set(), r"\(422\): .*hostIPC"),
        ({"reach": "port-forward"}, {"create /pods/portforward"}, "may not: create pods/portforward; .* has a Role"),
        ({}, {"create batch/jobs/", "list /events/"}, "may not: create batch/jobs, list events"),
    ],
)
def test_what_a_cluster_would_refuse_is_known_before_and_nothing_is_made(
    fake_cluster: FakeCluster, options: dict[str, JsonValue], forbidden: set[str], why: str
) -> None:
    fake_cluster.api.forbidden = forbidden
    with pytest.raises(EnvironmentFaultError, match=why):
        deployer(fake_cluster, **options).prepare(LAUNCH)
    assert fake_cluster.names(*OURS) == []


def test_what_a_cluster_would_take_is_not_made_by_asking(fake_cluster: FakeCluster) -> None:
    deployer(fake_cluster).prepare(LAUNCH)
    assert fake_cluster.names(*OURS) == []


def test_a_cluster_that_is_not_there_or_does_not_know_us_is_told(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    text = fake_cluster.kubeconfig.read_text()
    for wrong, why in (
        (text.replace("fake-token", "old-token"), r"refuses \(401\): Unauthorized; the credentials of the kubeconfig"),
        (text.replace("127.0.0.1:", "127.0.0.1:1"), "does not answer"),
        ("{}", "names no cluster"),
        ("{", "cannot be read"),
    ):
        path = tmp_path / "kubeconfig"
        path.write_text(wrong)
        with pytest.raises(DeployerError, match=why):
            deployer(fake_cluster, kubeconfig=str(path)).find({})
