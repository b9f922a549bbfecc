"""The Job that is made of a launch, and what belongs to it, word by word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest
from pydantic import JsonValue

from optuna_tuner.deployers.kubernetes import Kubernetes
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.deployers.kubernetes_request import owned_by, read_body
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json, Launch, Model, Request, Slot

LAUNCH = Launch(
    argv=("vllm", "serve", "/models/llama", "--host", "{host}", "--port", "{port}", "--title", "it's $(HOME)"),
    env={"VLLM_LOGGING_LEVEL": "INFO"},
    gpus=2,
    image="vllm/vllm-openai:v0.32.0",
    model=Model(name="meta/llama", path="/models/llama", tokenizer="/models/llama"),
)
SLOT = Slot(name="kubernetes-0", host="here", gpus=("kubernetes-gpu-0", "kubernetes-gpu-1"), elsewhere=True)
LABELS = {"study": "s1", "attempt": "a1", "worker": "w1"}
OURS = {
    "optuna-tuner/name": "tuner-a1",
    "optuna-tuner/study": "s1",
    "optuna-tuner/attempt": "a1",
    "optuna-tuner/worker": "w1",
}
FULL: Mapping[str, JsonValue] = {
    "namespace": "bench",
    "reach": "service",
    "gpus": 2,
    "cpu": "16",
    "memory": "128Gi",
    "volumes": [
        {"claim": "models", "target": "/models"},
        {"host_path": "/srv/cache", "target": "/root/.cache", "read_only": False},
    ],
    "node_selector": {"gpu": "h100"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "labels": {"team": "serving"},
    "annotations": {"note": "a trial"},
    "service_account": "server",
    "image_pull_secrets": ["registry"],
    "priority_class": "low",
    "runtime_class": "nvidia",
    "patch": {"spec": {"template": {"spec": {"hostIPC": True}}}},
    "max_life_s": 7200,
    "keep_s": 600,
}


def render(launch: Launch = LAUNCH, name: str = "tuner-a1", /, **options: JsonValue) -> Request:
    return Kubernetes(KubernetesOptions.model_validate({"gpus": 2, **options})).render(launch, name, LABELS, SLOT)


def at(request: Request, path: str) -> Json:
    found: Json = cast("Json", request.body)
    for word in path.split("."):
        found = found[int(word)] if isinstance(found, list) else cast("Mapping[str, Json]", found)[word]
    return found


def test_a_launch_is_a_job_that_is_tried_once_and_ends_by_itself() -> None:
    assert render().body["job"] == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "tuner-a1",
            "namespace": "default",
            "labels": OURS,
            "annotations": {"optuna-tuner/model": "meta/llama"},
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 172800,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": OURS},
                "spec": {
                    "restartPolicy": "Never",
                    "shareProcessNamespace": True,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [
                        {
                            "name": "server",
                            "image": "vllm/vllm-openai:v0.32.0",
                            "imagePullPolicy": "IfNotPresent",
                            "command": [
                                *("vllm", "serve", "/models/llama", "--host", "0.0.0.0", "--port", "8000"),  # noqa: S104
                                *("--title", "it's $$(HOME)"),
                            ],
                            "env": [
                                {"name": "PYTHONUNBUFFERED", "value": "1"},
                                {"name": "VLLM_LOGGING_LEVEL", "value": "INFO"},
                            ],
                            "ports": [{"name": "http", "containerPort": 8000}],
                            "resources": {
                                "requests": {"nvidia.com/gpu": "2"},
                                "limits": {"nvidia.com/gpu": "2"},
                            },
                            "startupProbe": {
                                "httpGet": {"path": "/health", "port": 8000},
                                "periodSeconds": 2,
                                "failureThreshold": 86401,
                            },
                            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
                            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        }
                    ],
                    "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}],
                },
            },
        },
    }
    assert render().body["owned"] == []


def test_all_that_a_study_may_say_of_a_cluster_is_in_its_job() -> None:
    request = render(LAUNCH, **FULL)
    pod = cast("dict[str, Json]", at(request, "job.spec.template.spec"))
    [container] = cast("list[dict[str, Json]]", pod.pop("containers"))
    resources = {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "2"}
    assert container["resources"] == {"requests": resources, "limits": resources}
    assert container["volumeMounts"] == [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        {"name": "volume-0", "mountPath": "/models", "readOnly": True},
        {"name": "volume-1", "mountPath": "/root/.cache", "readOnly": False},
    ]
    assert pod == {
        "restartPolicy": "Never",
        "shareProcessNamespace": True,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
            {"name": "volume-0", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
            {"name": "volume-1", "hostPath": {"path": "/srv/cache", "type": "Directory"}},
        ],
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "serviceAccountName": "server",
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "low",
        "runtimeClassName": "nvidia",
        "hostIPC": True,
    }
    assert at(request, "job.spec.activeDeadlineSeconds") == 7200
    assert at(request, "job.spec.ttlSecondsAfterFinished") == 600
    assert at(request, "job.metadata.labels") == {"team": "serving", **OURS}
    assert at(request, "job.spec.template.metadata") == {
        "labels": {"team": "serving", **OURS},
        "annotations": {"note": "a trial"},
    }


def test_what_a_job_owns_goes_with_it() -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "tuner-a1"}
    about = {"name": "tuner-a1", "namespace": "default", "labels": OURS, "ownerReferences": [owner]}
    request = render(LAUNCH, reach="service")
    assert request.body["owned"] == [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {
                "selector": {"optuna-tuner/name": "tuner-a1"},
                "ports": [{"name": "http", "port": 8000, "targetPort": 8000}],
            },
        }
    ]
    [service] = owned_by("u-1", read_body(request).owned, read_body(request).secrets)
    assert cast("Mapping[str, Json]", service["metadata"])["ownerReferences"] == [{**owner, "uid": "u-1"}]


def test_a_secret_is_a_reference_until_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "sesame")
    launch = replace(LAUNCH, secrets={"HF_TOKEN": "MY_TOKEN"})
    request = render(launch)
    assert "sesame" not in json.dumps(dict(request.body))
    reference = {"secretKeyRef": {"name": "tuner-a1", "key": "HF_TOKEN"}}
    env = cast("list[Json]", at(request, "job.spec.template.spec.containers.0.env"))
    assert env[-1] == {"name": "HF_TOKEN", "valueFrom": reference}
    [secret] = owned_by("u-1", read_body(request).owned, read_body(request).secrets)
    assert secret["data"] == {"HF_TOKEN": "c2VzYW1l"}
    monkeypatch.delenv("MY_TOKEN")
    with pytest.raises(DeployerError, match="HF_TOKEN from MY_TOKEN"):
        list(owned_by("u-1", read_body(request).owned, read_body(request).secrets))


def test_without_a_gpu_a_server_sees_none() -> None:
    launch = Launch(argv=("server",), image="server", model=LAUNCH.model)
    env = at(render(launch, gpus=0), "job.spec.template.spec.containers.0.env")
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in cast("list[Json]", env)


@pytest.mark.parametrize(
    ("launch", "name", "why"),
    [
        (replace(LAUNCH, gpus=4), "tuner-a1", "the server wants 4 GPUs, deployer.gpus asks for 2"),
        (LAUNCH, "t" * 64, "the name has 64 characters, and Kubernetes takes 63 at most"),
        (LAUNCH, "tuner_a1", "small letters, digits and dashes"),
        (replace(LAUNCH, image=None), "tuner-a1", "starts servers from an image"),
        (replace(LAUNCH, image="vllm:"), "tuner-a1", '"vllm:" is no name of an image'),
        (replace(LAUNCH, env={"A=B": "1"}), "tuner-a1", '"A=B" cannot be the name of an environment variable'),
        (replace(LAUNCH, argv=("a", "b\0")), "tuner-a1", "NUL character"),
    ],
)
def test_what_cannot_be_sent_is_refused(launch: Launch, name: str, why: str) -> None:
    with pytest.raises(DeployerError, match=why):
        render(launch, name)
