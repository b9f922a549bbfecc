"""What a cluster says of a server's Job and pod, and whose fault that is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from optuna_tuner.deployers.kubernetes_pod import Seen, state_of
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Cause, Json, Status

FAILED: Mapping[str, Json] = {"type": "Failed", "status": "True"}
QUOTA = (
    'FailedCreate: Error creating: pods "a" is forbidden: exceeded quota: team, requested: {}, used: {}, limited: {}'
)


def pod(container: Json = None, **status: Json) -> Seen:
    """A pod whose one container is in this state."""
    known: Json = [{"name": "sidecar", "state": {"running": {}}}]
    if isinstance(container, dict):
        known = [{"name": "sidecar"}, {"name": "server", "ready": True, **container}]
    metadata: Json = {"name": "tuner-a1-x2x4q", "labels": {"optuna-tuner/name": "tuner-a1"}}
    spec: Json = {"nodeName": "node-1"}
    return Seen(pod={"metadata": metadata, "spec": spec, "status": {"containerStatuses": known, **status}})


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Json:
    return [{"type": kind, "status": status, "reason": reason, "message": message}]


def waiting(reason: str, message: str = "") -> Seen:
    return pod({"state": {"waiting": {"reason": reason, "message": message}}}, phase="Pending")


def ended(code: int, why: str, words: str = "", **status: Json) -> Seen:
    how: Json = {"terminated": {"exitCode": code, "reason": why, "message": words}}
    return pod({"state": how}, **{"phase": "Failed", **status})


RUNS: Json = {"state": {"running": {"startedAt": "now"}}}


@pytest.mark.parametrize(
    ("seen", "status", "words"),
    [
        (pod(RUNS, phase="Running"), Status.RUNNING, ""),
        (ended(3, "Error"), Status.EXITED, ""),
        (ended(0, "Completed", phase="Succeeded"), Status.EXITED, ""),
        (
            pod(phase="Pending", conditions=condition("PodScheduled", "False", "Unschedulable", "0/3 nodes")),
            Status.QUEUED,
            "it waits for a node: Unschedulable: 0/3 nodes",
        ),
        (pod(phase="Pending", conditions=condition("PodScheduled", "True")), Status.QUEUED, "its node prepares it"),
        (Seen(pod={"status": {"phase": "Pending"}}), Status.QUEUED, "it waits for a node"),
        (ended(255, "Unknown"), Status.LOST, "lost sight of the container"),
        (waiting("ContainerCreating"), Status.QUEUED, "ContainerCreating"),
        (waiting("ErrImagePull", "429 too many"), Status.QUEUED, "ErrImagePull: 429 too many"),
        (waiting("CreateContainerConfigError", 'secret "tuner-a1" not found'), Status.QUEUED, "not found"),
        (ended(137, "Error", reason="Evicted", message="low on memory"), Status.LOST, "Evicted: low on memory"),
        (ended(1, "Error", reason="OutOfnvidia.com/gpu"), Status.LOST, "its node would not take it (OutOfnvidia"),
        (ended(137, "Error", reason="DeadlineExceeded"), Status.LOST, "raise deployer.max_life_s"),
        (ended(137, "ContainerStatusUnknown"), Status.LOST, "lost sight of the container"),
        (
            ended(
                143, "Error", conditions=condition("DisruptionTarget", "True", "PreemptionByScheduler", "a better pod")
            ),
            Status.LOST,
            "PreemptionByScheduler: a better pod",
        ),
        (
            pod(RUNS, phase="Running", conditions=condition("DisruptionTarget", "True", "DeletionByTaintManager")),
            Status.LOST,
            "DeletionByTaintManager",
        ),
        (pod(RUNS, phase="Running", conditions=condition("Ready", "False")), Status.LOST, "node does not answer"),
        (pod(RUNS, phase="Running", conditions=condition("Ready", "False", "ContainersNotReady")), Status.RUNNING, ""),
        (pod(RUNS, phase="Unknown"), Status.LOST, "node does not answer"),
        (pod(phase="Failed"), Status.LOST, "without a word"),
        (Seen(pod=None), Status.LOST, "somebody deleted its Job"),
        (Seen(pod=None, job={}), Status.QUEUED, "its pod is about to be made"),
        (
            Seen(pod=None, job={"status": {"conditions": [{**FAILED, "reason": "DeadlineExceeded"}]}}),
            Status.LOST,
            "raise deployer.max_life_s",
        ),
        (
            Seen(pod=None, job={"status": {"conditions": [{**FAILED, "reason": "BackoffLimitExceeded"}]}}),
            Status.LOST,
            "somebody deleted its pod",
        ),
        (
            Seen(
                pod=None,
                job={},
                events=[
                    QUOTA.format("requests.nvidia.com/gpu=2", "requests.nvidia.com/gpu=4", "requests.nvidia.com/gpu=4")
                ],
            ),
            Status.QUEUED,
            "it waits for its quota",
        ),
        (Seen(pod=None, job={"status": None}, events=["SuccessfulCreate: made"]), Status.QUEUED, "about to be made"),
    ],
)
def test_a_state_says_whose_it_is(seen: Seen, status: Status, words: str) -> None:
    state = state_of(seen)
    assert (state.status, words in state.detail) == (status, True), state


def test_an_exit_code_is_the_servers_own() -> None:
    assert state_of(ended(3, "Error")).exit_code == 3


def test_memory_that_ran_out_is_known_without_the_log() -> None:
    diagnosis = state_of(ended(137, "OOMKilled")).diagnosis
    assert diagnosis is not None
    assert (diagnosis.cause, "deployer.memory" in diagnosis.exact_advice) == (Cause.OUT_OF_MEMORY_RUNTIME, True)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (waiting("ImagePullBackOff", "no such image"), "cannot be started: ImagePullBackOff: no such image"),
        (waiting("InvalidImageName", "x"), "InvalidImageName"),
        (waiting("CreateContainerConfigError", 'secret "hub" not found'), 'secret "hub" not found'),
        (ended(128, "StartError", 'exec: "vllm": not found'), 'StartError: exec: "vllm": not found'),
        (
            pod(
                phase="Pending",
                conditions=condition(
                    "PodScheduled", "False", "Unschedulable", 'persistentvolumeclaim "models" not found'
                ),
            ),
            'persistentvolumeclaim "models" not found',
        ),
        (
            Seen(pod=pod(phase="Pending").pod, events=['FailedMount: MountVolume: hostPath type check failed: "/a"']),
            "a volume cannot be mounted",
        ),
        (Seen(pod=None, job={}, events=["FailedCreate: violates PodSecurity"]), "makes no pod: FailedCreate: violates"),
        (
            Seen(
                pod=None,
                job={},
                events=[
                    QUOTA.format("limits.memory=64Gi,pods=1", "limits.memory=0,pods=0", "limits.memory=32Gi,pods=9")
                ],
            ),
            "quota never allows limits.memory=64Gi",
        ),
    ],
)
def test_what_will_never_begin_is_the_machines_fault_at_once(seen: Seen, why: str) -> None:
    with pytest.raises(DeployerError) as caught:
        state_of(seen)
    assert why in str(caught.value)
    assert caught.value.cause is Cause.DEPLOYER_FAILED
