"""What OME and its cluster do wrongly, played by the fake one; and what is made there for all studies."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from clusters import IMAGE, ome_options
from pydantic import JsonValue

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.ome import deployer as ome
from optuna_tuner.deployers.ome import ensure
from optuna_tuner.deployers.ome.deployer import Ome
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.fake_cluster import FakeCluster
from optuna_tuner.testing.fake_objects import part
from optuna_tuner.values import Cause, Handle, Launch, Model, Slot, State, Status

PATIENCE_S = 120.0
MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
LAUNCH = Launch(argv=(sys.executable, "-c", small_servers.ANSWERS, "{host}", "{port}"), model=MODEL, image=IMAGE)
SLOT = Slot(name="ome-0", host="here", elsewhere=True)
OF_A_TRIAL = ("inferenceservices", "pods", "services", "secrets")
SHARED = ("clusterbasemodels", "clusterservingruntimes")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


def deployer(cluster: FakeCluster, **more: JsonValue) -> Ome:
    """One that asks for every state anew, and reaches servers by their Service."""
    return Ome(OmeOptions.model_validate(ome_options(cluster.kubeconfig, reach="service", **more)))


@contextmanager
def started(cluster: FakeCluster, launch: Launch = LAUNCH, **more: JsonValue) -> Iterator[tuple[Ome, Handle]]:
    """A server that is stopped in the end; then nothing is left of it, and its model and runtime stay."""
    ours = deployer(cluster, **more)
    ours.prepare(launch)
    handle = ours.start(ours.render(launch, "case-1", {"attempt": "a1"}, SLOT), Path())
    try:
        yield ours, handle
    finally:
        ours.stop(handle, 1)
        assert poll(lambda: None if cluster.names(*OF_A_TRIAL) else True, Deadline.after(PATIENCE_S))
        assert len(cluster.names(*SHARED)) == 2


def until(ours: Ome, handle: Handle, status: Status) -> State:
    def look() -> State | None:
        state = ours.state(handle)
        return state if state.status is status else None

    found = poll(look, Deadline.after(PATIENCE_S))
    assert found is not None, f"never {status}: {ours.state(handle)}"
    return found


def refused(ours: Ome, handle: Handle) -> str:
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


def test_a_server_has_its_model_and_its_secret_and_a_restart_of_it_is_another_server(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "sesame")
    source = f"import os; print(os.environ['TOKEN'], sys.argv[3:], flush=True)\n{small_servers.ANSWERS}"
    argv = (sys.executable, "-c", f"import sys; {source}", "{host}", "{port}", "/nowhere")
    with started(fake_cluster, replace(LAUNCH, argv=argv, secrets={"TOKEN": "MY_TOKEN"})) as (ours, handle):
        endpoint = poll(lambda: ours.endpoint(handle), Deadline.after(PATIENCE_S))
        assert endpoint is not None
        assert httpx.get(f"{endpoint.url}/health", timeout=PATIENCE_S).text == "ok"
        assert ours.log(handle).startswith("sesame ['/models/small']\n")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{endpoint.url}/die", timeout=5)
        assert until(ours, handle, Status.EXITED).exit_code == 7
        assert ours.log(handle).startswith("sesame")


def test_memory_that_runs_out_is_the_configurations_fault_and_a_pod_that_is_taken_the_machines(
    fake_cluster: FakeCluster,
) -> None:
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.run_out_of_memory("case-1")
        diagnosis = until(ours, handle, Status.EXITED).diagnosis
        assert diagnosis is not None
        assert diagnosis.cause is Cause.OUT_OF_MEMORY_RUNTIME
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.delete_pod("case-1")
        assert "pod" in until(ours, handle, Status.LOST).detail


def test_what_will_never_begin_is_told(fake_cluster: FakeCluster) -> None:
    with started(fake_cluster, replace(LAUNCH, image="nobody/has-it:1")) as (ours, handle):
        assert "ImagePullBackOff" in refused(ours, handle)
    with started(fake_cluster, replace(LAUNCH, argv=("no-such-command",))) as (ours, handle):
        assert "no-such-command" in refused(ours, handle)
    fake_cluster.ome.quota = "pods is forbidden: exceeded quota: team, requested: pods=9, used: pods=0, limited: pods=8"
    with started(fake_cluster) as (ours, handle):
        assert "quota never allows pods=9" in refused(ours, handle)


def test_a_runtime_that_does_not_fit_is_told_by_an_event_alone(fake_cluster: FakeCluster) -> None:
    config = ome_options(fake_cluster.kubeconfig)["clusterservingruntime_config"]
    assert isinstance(config, dict)
    spec = config["spec"]
    assert isinstance(spec, dict)
    formats: JsonValue = [
        {"modelFormat": {"name": "x"}, "modelFramework": {"name": "y"}, "modelArchitecture": "MixtralForCausalLM"}
    ]
    other: JsonValue = {"name": "tuner-moe", "spec": {**spec, "supportedModelFormats": formats}}
    with started(fake_cluster, clusterservingruntime_config=other) as (ours, handle):
        assert "RuntimeValidationError" in refused(ours, handle)


def test_a_manager_that_is_away_keeps_what_is_deleted_and_takes_nothing_new(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(fake_cluster) as (ours, handle):
        until(ours, handle, Status.RUNNING)
        fake_cluster.ome.up = False
        with monkeypatch.context() as hurry:
            hurry.setattr(ome, "_END_S", 0.5)
            with pytest.raises(DeployerError, match="OME's manager does not answer"):
                ours.stop(handle, 0)
        with pytest.raises(DeployerError, match=r"refuses \(500\): .*failed calling webhook"):
            ours.start(ours.render(LAUNCH, "case-2", {}, SLOT), Path())
        assert [each.name for each in ours.find({"attempt": "a1"})] == ["case-1"]
        fake_cluster.ome.up = True


def test_two_workers_make_a_model_and_a_runtime_once_and_change_neither(fake_cluster: FakeCluster) -> None:
    with ThreadPoolExecutor() as workers:
        list(workers.map(lambda _: deployer(fake_cluster).prepare(LAUNCH), range(2)))

    def versions() -> list[object]:
        held = fake_cluster.kubelet.objects.held
        return [part(held[kind, "", name], "metadata")["uid"] for kind, _, name in held if kind in SHARED]

    before = fake_cluster.do(versions)
    model = fake_cluster.do(lambda: fake_cluster.kubelet.objects.get("clusterbasemodels", "", "small"))
    assert part(part(model, "spec"), "modelFormat")["name"] == "safetensors"  # which OME filled in
    deployer(fake_cluster).prepare(LAUNCH)
    assert fake_cluster.do(versions) == before
    assert fake_cluster.names(*OF_A_TRIAL) == []


def test_another_thing_of_the_same_name_is_refused_and_left_as_it_is(fake_cluster: FakeCluster) -> None:
    deployer(fake_cluster).prepare(LAUNCH)
    model: JsonValue = {"name": "small", "spec": {"storage": {"storageUri": "hf://nobody/other"}}}
    why = "another ClusterBaseModel small than the study: spec.storage.storageUri is hf://nobody/small, not"
    with pytest.raises(EnvironmentFaultError, match=why):
        deployer(fake_cluster, clusterbasemodel_config=model).prepare(LAUNCH)


@pytest.mark.parametrize(
    ("forbidden", "why"),
    [
        ({"create ome.io/clusterbasemodels/"}, "there is no ClusterBaseModel small, and we may not make it"),
        (
            {"create ome.io/inferenceservices/", "list /events/"},
            "may not: create ome.io/inferenceservices, list events",
        ),
    ],
)
def test_a_right_that_is_missing_is_named_and_nothing_is_made(
    fake_cluster: FakeCluster, forbidden: set[str], why: str
) -> None:
    fake_cluster.api.forbidden = forbidden
    with pytest.raises(EnvironmentFaultError, match=why):
        deployer(fake_cluster).prepare(LAUNCH)
    assert fake_cluster.names(*SHARED, *OF_A_TRIAL) == []


def test_who_may_not_make_or_even_look_uses_what_is_named(
    fake_cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    deployer(fake_cluster).prepare(LAUNCH)
    fake_cluster.api.forbidden = {"create ome.io/clusterbasemodels/", "create ome.io/clusterservingruntimes/"}
    deployer(fake_cluster).prepare(LAUNCH)
    fake_cluster.api.forbidden |= {"get ome.io/clusterbasemodels/", "get ome.io/clusterservingruntimes/"}
    with caplog.at_level(logging.WARNING):
        deployer(fake_cluster).prepare(LAUNCH)
    assert "small is taken to be there, since we may not look" in caplog.text


def test_a_model_that_no_node_has_is_waited_for_and_then_told(fake_cluster: FakeCluster) -> None:
    fake_cluster.ome.fetches = False
    with pytest.raises(EnvironmentFaultError, match=r"no node has the model small after 0 s .*"):
        deployer(fake_cluster, model_ready_s=0).prepare(LAUNCH)


def test_a_model_that_is_being_deleted_is_waited_for_and_made_anew(
    fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = deployer(fake_cluster)
    ours.prepare(LAUNCH)
    fake_cluster.ome.up = False
    ours.cluster.api.delete("clusterbasemodels", "small", "")
    with monkeypatch.context() as hurry:
        hurry.setattr(ensure, "_GOES_S", 0)
        with pytest.raises(EnvironmentFaultError, match="ClusterBaseModel small is being deleted, and does not go"):
            ours.prepare(LAUNCH)
    fake_cluster.ome.up = True
    ours.prepare(LAUNCH)
    assert len(fake_cluster.names(*SHARED)) == 2


def test_what_omes_webhook_denies_is_no_right_that_is_missing(fake_cluster: FakeCluster) -> None:
    wanted = ome_options(fake_cluster.kubeconfig)["clusterservingruntime_config"]
    assert isinstance(wanted, dict)
    spec = wanted["spec"]
    assert isinstance(spec, dict)
    denied: JsonValue = {**wanted, "spec": {**spec, "acceleratorRequirements": {"acceleratorClasses": ["h100"]}}}
    with pytest.raises(EnvironmentFaultError, match=r"denied the request: unknown accelerator classes$"):
        deployer(fake_cluster, clusterservingruntime_config=denied).prepare(LAUNCH)


def test_a_model_that_is_only_named_must_be_there(fake_cluster: FakeCluster) -> None:
    with pytest.raises(EnvironmentFaultError, match="the cluster has no ClusterBaseModel nope: let the study make it"):
        deployer(fake_cluster, clusterbasemodel_config={"name": "nope"}).prepare(LAUNCH)


def test_a_cluster_without_ome_says_so_in_plain_text_and_that_is_understood(fake_cluster: FakeCluster) -> None:
    fake_cluster.ome.is_installed = False
    with pytest.raises(EnvironmentFaultError, match="OME is not installed"):
        deployer(fake_cluster).prepare(LAUNCH)


def test_a_field_that_ome_does_not_know_is_refused_before_the_first_trial(fake_cluster: FakeCluster) -> None:
    if fake_cluster.api.definitions.folder is None:
        pytest.skip("OME's own definitions are not here")
    why = r'strict decoding error: unknown field "spec.engine.argz"'
    with pytest.raises(EnvironmentFaultError, match=why):
        deployer(fake_cluster, patch={"spec": {"engine": {"argz": 1}}}).prepare(LAUNCH)
    with pytest.raises(EnvironmentFaultError, match=r"\(422\): .*spec.engine.hostIPC: Invalid value"):
        deployer(fake_cluster, patch={"spec": {"engine": {"hostIPC": "yes"}}}).prepare(LAUNCH)
