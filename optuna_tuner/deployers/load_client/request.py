"""What is sent for a load client in the cluster, made by a pure function: a Job, and the ConfigMap that it owns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, JsonValue

from optuna_tuner.client_site import Program, Vantage
from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_parts import STRICT, mounts_of
from optuna_tuner.deployers.kubernetes_patch import OURS, merged
from optuna_tuner.deployers.kubernetes_request import MODEL_NOTE, literal, ours
from optuna_tuner.deployers.kubernetes_words import name_problem, value_problem
from optuna_tuner.deployers.load_client import in_pod
from optuna_tuner.deployers.load_client.options import CONTAINER, LoadClient
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json

PORT = 8000  # where the pod lets its files be read
SERVER_LABEL = f"{OURS}server"  # the name of the server that is loaded
FOLDER = "/optuna-tuner/run"
PLANNED = Vantage(url="http://SERVER:PORT", folder=FOLDER, elsewhere=True)
SLACK_S = 300.0  # the Job's own deadline is for when nobody else ends it
_INPUT = "/optuna-tuner/in"
_SCRIPT = "in_pod.py"
_KEEP_S = 3600  # likewise: the cluster removes it so many seconds after its end
_PATIENCE_S = 900  # likewise: it ends by itself when nobody has asked for its files for so long
_MOST_BYTES = 1_000_000  # a ConfigMap holds a bit more
_ALWAYS = {"PYTHONUNBUFFERED": "1", "NVIDIA_VISIBLE_DEVICES": "void"}  # it needs no GPU, wherever it comes to run
_HOSTS = {"service": "0.0.0.0", "port-forward": "127.0.0.1"}  # noqa: S104  of the pod; a forward leads to its loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The server that a client loads: `owner` is its object, with which the client goes; `url` is for pods."""

    name: str
    labels: Mapping[str, str]
    owner: Mapping[str, Json]
    model: str = ""
    url: str = PLANNED.url


class ClientRequest(BaseModel):
    """The body of a request: the Job, and what it owns."""

    model_config = STRICT

    job: Mapping[str, JsonValue]
    owned: tuple[Mapping[str, JsonValue], ...]

    @property
    def namespace(self) -> str:
        """Where all of it lies."""
        metadata = self.job["metadata"]
        return str(metadata["namespace"]) if isinstance(metadata, dict) else ""

    @property
    def secrets(self) -> Mapping[str, str]:
        """None: a load client is given no secret."""
        return {}


def body_of(program: Program, run: str, server: Loaded, options: ClusterOptions, limit_s: float) -> ClientRequest:
    """One run of a program, which has so many seconds once it runs. Raises DeployerError for what cannot be sent."""
    client = options.load_client
    if client is None:
        raise DeployerError("the study says nothing of a load client in the cluster (deployer.load_client)")
    name = f"{server.name}-{run}"
    _refuse(program, name, server)
    known = {**ours(name, server.labels, options.labels), SERVER_LABEL: server.name}
    notes: Json = {**options.annotations, MODEL_NOTE: server.model}
    about: dict[str, Json] = {"name": name, "namespace": options.namespace, "labels": known}
    job: dict[str, Json] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**about, "annotations": notes, "ownerReferences": [dict(server.owner)]},
        "spec": {
            "backoffLimit": 0,  # a run that failed is the tuner's to try again
            "activeDeadlineSeconds": math.ceil(client.start_s + limit_s + SLACK_S),
            "ttlSecondsAfterFinished": _KEEP_S,
            "template": {
                "metadata": {"labels": known, "annotations": notes},
                "spec": _pod(program, name, client, _HOSTS[options.reach]),
            },
        },
    }
    owner: Json = {"apiVersion": "batch/v1", "kind": "Job", "name": name}
    files: Json = {_SCRIPT: script(), **program.files}
    inputs: dict[str, Json] = {"apiVersion": "v1", "kind": "ConfigMap", "data": files}
    inputs["metadata"] = {**about, "ownerReferences": [owner]}
    return ClientRequest(job=merged(job, client.patch), owned=(inputs,))


def script() -> str:
    """What runs beside the program in its pod."""
    return Path(in_pod.__file__).read_text(encoding="utf-8")


def _pod(program: Program, name: str, client: LoadClient, host: str) -> dict[str, Json]:
    sources, places = mounts_of(client.volumes)
    resources: Json = {"cpu": client.cpu, "memory": client.memory}
    words = ("python3", f"{_INPUT}/{_SCRIPT}", host, str(PORT), FOLDER, _INPUT, str(_PATIENCE_S), "--", *program.argv)
    container: dict[str, Json] = {
        "name": CONTAINER,
        "image": client.image,
        "imagePullPolicy": client.image_pull_policy,
        "command": [literal(word) for word in words],
        "env": list(_environment({**_ALWAYS, **program.env, **client.env})),
        "resources": {"requests": resources, "limits": resources},
        "volumeMounts": [
            {"name": "run", "mountPath": FOLDER},
            {"name": "in", "mountPath": _INPUT, "readOnly": True},
            *places,
        ],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: dict[str, Json] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [{"name": "run", "emptyDir": {}}, {"name": "in", "configMap": {"name": name}}, *sources],
        "nodeSelector": dict[str, Json](client.node_selector),
        "tolerations": [each.said for each in client.tolerations],
        "imagePullSecrets": [{"name": each} for each in client.image_pull_secrets],
    }
    return {key: value for key, value in pod.items() if value not in ([], {})}


def _environment(env: Mapping[str, str]) -> Iterator[Json]:
    for name, value in env.items():
        yield {"name": name, "value": literal(value)}


def _refuse(program: Program, name: str, server: Loaded) -> None:
    problems = (name_problem(name, "the load client's name"), *map(value_problem, server.labels.values()))
    problem = next(filter(None, problems), None)
    if problem:
        raise DeployerError(problem)
    if any("\0" in text for text in (*program.argv, *program.env.values())):
        raise DeployerError("a NUL character cannot stand in an argument or in an environment variable")
    size = sum(len(text.encode()) for text in program.files.values())
    if size > _MOST_BYTES:
        raise DeployerError(f"the load client reads {size} bytes; {_MOST_BYTES} go into the cluster at most")
