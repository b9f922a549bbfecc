"""What OME says of an InferenceService, and whose fault that is; the pods' own story is told as for Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from pydantic import JsonValue

from optuna_tuner.deployers.ome.deployer import Ome
from optuna_tuner.deployers.ome.ensure import differences
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.deployers.ome.request import body_of
from optuna_tuner.deployers.ome.shapes import at
from optuna_tuner.deployers.ome.state import SeenService, state_of_service
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Cause, Json, Launch, Model, Slot, Status

RUNS: Json = {"running": {"startedAt": "now"}}
OOM: Json = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
ENDED: Json = {"terminated": {"exitCode": 3, "reason": "Error"}}
BACK_OFF: Json = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
MODEL = Model(name="llama", path="/models/llama", tokenizer="/models/llama")
SLOT = Slot(name="ome-0", host="here", elsewhere=True)
LAUNCH = Launch(argv=("vllm", "serve", "/models/llama", "--title", "$(HOME)"), model=MODEL)
NAMED: Mapping[str, JsonValue] = {
    "clusterbasemodel_config": {"name": "llama"},
    "clusterservingruntime_config": {"name": "theirs"},
    "gpus": 2,
}


def pod(name: str = "a", since: str = "1", **container: Json) -> Mapping[str, Json]:
    status: Json = [{"name": "ome-container", "ready": True, **container}]
    about: Json = {"name": name, "creationTimestamp": since}
    return {"metadata": about, "spec": {"nodeName": "n"}, "status": {"phase": "Running", "containerStatuses": status}}


def seen(*pods: Mapping[str, Json], first: str = "", events: Sequence[str] = (), **service: Json) -> SeenService:
    return SeenService(pods=pods, service=service or {"status": {}}, first=first, events=events)


def failure(reason: str) -> SeenService:
    status: Json = {"modelStatus": {"lastFailureInfo": {"reason": reason, "message": "says OME"}}}
    return seen(status=status)


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (seen(pod(state=RUNS)), Status.RUNNING, ""),
        (seen(pod(state=ENDED)), Status.EXITED, ""),
        (seen(pod(state=BACK_OFF, lastState=ENDED)), Status.EXITED, ""),
        (seen(pod(state=RUNS, lastState=ENDED)), Status.EXITED, ""),
        (seen(pod("b", "2", state=RUNS), pod("a", "1", state=ENDED), first="a"), Status.EXITED, ""),
        (seen(pod("b", state=RUNS), first="a"), Status.LOST, "its pod a is gone, and OME has made another one"),
        (seen(first="a"), Status.LOST, "its pod a is gone"),
        (SeenService(pods=(), service=None), Status.LOST, "somebody deleted its InferenceService"),
        (seen(metadata={"deletionTimestamp": "now"}), Status.LOST, "somebody deletes its InferenceService"),
        (failure("BaseModelNotReady"), Status.QUEUED, "OME prepares it: BaseModelNotReady: says OME"),
        (seen(events=["InternalError: the object has been modified"]), Status.QUEUED, "OME prepares it: InternalError"),
        (
            seen(events=["FailedCreate: exceeded quota: team, requested: pods=1, used: pods=9, limited: pods=9"]),
            Status.QUEUED,
            "it waits for its quota",
        ),
        (seen(), Status.QUEUED, "OME prepares it"),
    ],
)
def test_a_server_fares_as_its_pod_and_its_service_say(found: SeenService, status: Status, words: str) -> None:
    state = state_of_service(found)
    assert state.status is status
    assert state.detail.startswith(words)


def test_memory_that_ran_out_before_a_restart_is_the_configurations_fault() -> None:
    diagnosis = state_of_service(seen(pod(state=RUNS, lastState=OOM))).diagnosis
    assert diagnosis is not None
    assert diagnosis.cause is Cause.OUT_OF_MEMORY_RUNTIME


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (failure("NoSupportingRuntime"), "OME cannot start it: NoSupportingRuntime: says OME"),
        (failure("RuntimeDisabled"), "RuntimeDisabled"),
        (seen(events=["RuntimeValidationError: runtime does not support it"]), "RuntimeValidationError: runtime does"),
        (seen(events=["MergeSpecsError: bad", "Scheduled: x"]), "MergeSpecsError: bad"),
        (seen(events=["FailedCreate: violates PodSecurity"]), "makes no pod: FailedCreate: violates"),
        (seen(pod(state=BACK_OFF, lastState={"terminated": {"exitCode": 128, "reason": "StartError"}})), "StartError"),
    ],
)
def test_what_never_begins_is_told_though_only_events_tell_it(found: SeenService, why: str) -> None:
    with pytest.raises(DeployerError, match=why):
        state_of_service(found)


def test_ready_is_the_condition_and_nothing_else() -> None:
    conditions: Json = [{"type": "EngineReady", "status": "True"}, {"type": "Ready", "status": "False"}]
    assert not seen(status={"conditions": conditions}).is_ready
    assert seen(status={"conditions": [{"type": "Ready", "status": "True"}]}).is_ready
    assert not seen(status={"conditions": None}).is_ready


def test_a_named_container_gets_the_command_and_the_models_own_place() -> None:
    service = body_of(LAUNCH, "tuner-a1", {}, OmeOptions.model_validate(NAMED)).service
    runner = at(service, "spec", "engine", "runner")
    assert isinstance(runner, dict)
    assert runner["name"] == "ome-container"  # merged without a name it would have none
    assert runner["command"] == ["vllm", "serve", "$(MODEL_PATH)"]
    assert runner["args"] == ["--title", "$$(HOME)"]
    assert "image" not in runner


def test_a_model_whose_name_is_its_path_keeps_its_name() -> None:
    hub = Model(name="a/b", path="a/b", tokenizer="a/b")
    launch = Launch(argv=("vllm", "serve", "a/b", "--served-model-name", "a/b"), model=hub)
    runner = at(body_of(launch, "tuner-a1", {}, OmeOptions.model_validate(NAMED)).service, "spec", "engine", "runner")
    assert isinstance(runner, dict)
    assert runner["command"] == ["vllm", "serve", "$(MODEL_PATH)"]
    assert runner["args"] == ["--served-model-name", "a/b"]


def test_the_runtimes_own_command_is_left_alone() -> None:
    options = OmeOptions.model_validate({**NAMED, "command": "runtime"})
    runner = at(body_of(LAUNCH, "tuner-a1", {}, options).service, "spec", "engine", "runner")
    assert isinstance(runner, dict)
    assert "command" not in runner
    assert runner["args"] == ["--title", "$$(HOME)"]


@pytest.mark.parametrize(
    ("launch", "name", "why"),
    [
        (replace(LAUNCH, gpus=4), "tuner-a1", "wants 4 GPUs, deployer.gpus asks for 2"),
        (LAUNCH, "1-tuner", "begins with a letter"),
        (LAUNCH, "t" * 57, "at most 56 small letters"),
        (replace(LAUNCH, image="vllm:"), "tuner-a1", '"vllm:" is no name of an image'),
        (replace(LAUNCH, argv=("vllm", "{{ .Name }}")), "tuner-a1", "would begin an expression of OME's templates"),
        (replace(LAUNCH, argv=("vllm", "a\0")), "tuner-a1", "NUL character"),
    ],
)
def test_what_cannot_be_sent_is_refused(launch: Launch, name: str, why: str) -> None:
    with pytest.raises(DeployerError, match=why):
        Ome(OmeOptions.model_validate(NAMED)).render(launch, name, {}, SLOT)


def test_what_the_cluster_filled_in_is_no_difference() -> None:
    wanted: Json = {"storage": {"uri": "a"}, "formats": [{"name": "x"}], "cpu": "10"}
    there: Json = {"storage": {"uri": "a", "path": "/x"}, "formats": [{"name": "x", "weight": 1}], "cpu": 10, "size": 1}
    assert list(differences(wanted, there)) == []
    assert list(differences(wanted, {"storage": {"uri": "b"}, "formats": [], "cpu": "10"})) == [
        "spec.storage.uri is b, not a",
        "spec.formats is [], not [{'name': 'x'}]",
    ]
