"""What the deployer `kubernetes` sends, made by a pure function: a Job, and what belongs to it."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, JsonValue, ValidationError

from optuna_tuner.deployers.container_words import image_problem
from optuna_tuner.deployers.kubernetes_misfits import model_problem
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.deployers.kubernetes_parts import STRICT, mounts_of
from optuna_tuner.deployers.kubernetes_patch import CONTAINER, OURS, merged
from optuna_tuner.deployers.kubernetes_words import name_problem, value_problem
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json, Launch, Request

PORT = 8000  # inside the pod, where nobody else listens
NAME_LABEL = f"{OURS}name"
MODEL_NOTE = f"{OURS}model"  # an annotation: a model's name may be no label
_ANYWHERE = "0.0.0.0"  # noqa: S104  of the pod
_PROBE_EVERY_S = 2
_SHM = "shm"


class KubernetesRequest(BaseModel):
    """The body of a request: the Job, what it owns, and the secrets whose values are added on the way.

    What the Job owns bears its uid when it is sent, so that it goes when the Job goes.
    """

    model_config = STRICT

    job: Mapping[str, JsonValue]
    owned: tuple[Mapping[str, JsonValue], ...]
    secrets: Mapping[str, str]

    @property
    def namespace(self) -> str:
        """Where all of it lies."""
        return str(_mapping(self.job["metadata"])["namespace"])


def body_of(launch: Launch, name: str, labels: Mapping[str, str], options: KubernetesOptions) -> KubernetesRequest:
    """The launch as a Job. Raises DeployerError for what cannot be sent."""
    _refuse(launch, name, labels, options)
    known = ours(name, labels, options.labels)
    metadata: dict[str, Json] = {"name": name, "namespace": options.namespace, "labels": known}
    job: dict[str, Json] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "annotations": {**options.annotations, MODEL_NOTE: launch.model.name}},
        "spec": {
            "backoffLimit": 0,  # a trial that failed is the tuner's to try again
            "activeDeadlineSeconds": options.max_life_s,
            "ttlSecondsAfterFinished": options.keep_s,
            "template": {
                "metadata": {"labels": known, **_annotations(options)},
                "spec": pod_of(launch, name, options),
            },
        },
    }
    owned = tuple(_owned(launch, name, metadata, options))
    return KubernetesRequest(job=merged(job, options.patch), owned=owned, secrets=launch.secrets)


def _annotations(options: KubernetesOptions) -> dict[str, Json]:
    return {"annotations": dict[str, Json](options.annotations)} if options.annotations else {}


def pod_of(launch: Launch, secret: str, options: KubernetesOptions) -> dict[str, Json]:
    """The pod's own part; `secret` is the name of the Secret that holds the launch's secrets."""
    pod: dict[str, Json] = {
        "restartPolicy": "Never",
        "shareProcessNamespace": True,  # as process 1 a server would not hear SIGTERM, and would have orphans to reap
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called vllm would set VLLM_PORT, and so on
        "containers": [_container(launch, secret, options)],
        "volumes": _mounts(options)[0],
        "nodeSelector": dict[str, Json](options.node_selector),
        "tolerations": [each.said for each in options.tolerations],
        "serviceAccountName": options.service_account,
        "imagePullSecrets": [{"name": each} for each in options.image_pull_secrets],
        "priorityClassName": options.priority_class,
        "runtimeClassName": options.runtime_class,
    }
    return {name: value for name, value in pod.items() if value not in (None, [], {})}


def _container(launch: Launch, secret: str, options: KubernetesOptions) -> dict[str, Json]:
    container: dict[str, Json] = {
        "name": CONTAINER,
        "image": launch.image,
        "imagePullPolicy": options.image_pull_policy,
        "command": [literal(placed(word, PORT)) for word in launch.argv],  # the image's own is not used
        "env": list(environment(launch, secret, options.gpus)),
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": _resources(options),
        "startupProbe": _probe(launch, options),
        "volumeMounts": _mounts(options)[1],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {name: value for name, value in container.items() if value != {}}


def environment(launch: Launch, secret: str, gpus: int) -> Iterator[Json]:
    """Without a GPU of its own a server sees none, also where the node's runtime would show it all of them."""
    env = {"PYTHONUNBUFFERED": "1", **launch.env, **({} if gpus else {"NVIDIA_VISIBLE_DEVICES": "void"})}
    for name, value in env.items():
        yield {"name": name, "value": literal(value)}
    for name in launch.secrets:
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}


def placed(word: str, port: int) -> str:
    """A word of the command, with its address in the pod."""
    return word.replace("{host}", _ANYWHERE).replace("{port}", str(port))


def literal(text: str) -> str:
    """Kubernetes puts variables in the place of `$(NAME)`; doubled, the dollar stays what it is."""
    return text.replace("$(", "$$(")


def _probe(launch: Launch, options: KubernetesOptions) -> dict[str, Json]:
    """Ready once the engine has answered. Nobody asks any more then: a probe is load, and may end a busy server.

    It may fail as long as the Job lives; how long a start may take is the study's to say.
    """
    return {
        "httpGet": {"path": launch.ready_path, "port": PORT},
        "periodSeconds": _PROBE_EVERY_S,
        "failureThreshold": options.max_life_s // _PROBE_EVERY_S + 1,
    }


def _resources(options: KubernetesOptions) -> dict[str, Json]:
    """Asked for and at most are one: nobody else's load may change what is measured."""
    gpus = {options.gpu_resource: str(options.gpus)} if options.gpus else {}
    asked = {"cpu": options.cpu, "memory": options.memory, **gpus}
    said: dict[str, Json] = {name: value for name, value in asked.items() if value is not None}
    return {"requests": said, "limits": said} if said else {}


def _mounts(options: KubernetesOptions) -> tuple[list[Json], list[Json]]:
    """The volumes of the pod, and where the server sees them."""
    sources, places = mounts_of(options.volumes)
    shared: Json = {"name": _SHM, "emptyDir": {"medium": "Memory", "sizeLimit": options.shm_size}}
    seen: Json = {"name": _SHM, "mountPath": "/dev/shm"}  # noqa: S108  where processes of one server exchange tensors
    return [shared, *sources], [seen, *places]


def _owned(
    launch: Launch, name: str, metadata: Mapping[str, Json], options: KubernetesOptions
) -> Iterator[Mapping[str, Json]]:
    owner: Json = {"apiVersion": "batch/v1", "kind": "Job", "name": name}
    of_job: Json = {**metadata, "ownerReferences": [owner]}
    if launch.secrets:
        yield secret_of(of_job)
    if options.reach == "service":
        port: Json = {"name": "http", "port": PORT, "targetPort": PORT}
        spec: Json = {"selector": {NAME_LABEL: name}, "ports": [port]}
        yield {"apiVersion": "v1", "kind": "Service", "metadata": of_job, "spec": spec}


def secret_of(metadata: Json) -> Mapping[str, Json]:
    """The Secret of a launch, without its values."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}


def ours(name: str, labels: Mapping[str, str], more: Mapping[str, str]) -> dict[str, Json]:
    """The labels of all objects of one server."""
    return {**more, NAME_LABEL: name, **{f"{OURS}{key}": value for key, value in labels.items()}}


def _refuse(launch: Launch, name: str, labels: Mapping[str, str], options: KubernetesOptions) -> None:
    found = (name_problem(name, "the name"), image_problem(launch.image, "kubernetes"))
    problem = next(filter(None, found), None)
    if problem:
        raise DeployerError(problem)
    refuse_launch(launch, labels, options.gpus)


def refuse_launch(launch: Launch, labels: Mapping[str, str], gpus: int) -> None:
    """Raise DeployerError for what no pod takes, of a server that is given so many GPUs."""
    problem = next(filter(None, (model_problem(launch.model.path), *map(value_problem, labels.values()))), None)
    if problem:
        raise DeployerError(problem)
    if launch.gpus > gpus:
        raise DeployerError(f"the server wants {launch.gpus} GPUs, deployer.gpus asks for {gpus}")
    for variable in (*launch.env, *launch.secrets):
        if not variable or "=" in variable or not variable.isprintable():
            raise DeployerError(f'"{variable}" cannot be the name of an environment variable')
    if any("\0" in text for text in (*launch.argv, *launch.env.values())):
        raise DeployerError("a NUL character cannot stand in an argument or in an environment variable")


def read_body(request: Request) -> KubernetesRequest:
    """The body of a request that came back from JSON. Raises DeployerError when it is none of ours."""
    try:
        return KubernetesRequest.model_validate(request.body)
    except ValidationError as error:
        raise DeployerError(f"{request.name} is no request of the deployer kubernetes: {error}") from error


def owned_by(uid: str, owned: Sequence[Mapping[str, Json]], secrets: Mapping[str, str]) -> Iterator[Mapping[str, Json]]:
    """What an object owns, complete, with the values of secrets. Raises DeployerError for one that is not set here."""
    for each in owned:
        metadata = _mapping(each["metadata"])
        owners = metadata["ownerReferences"]
        known: Json = [{**_mapping(owner), "uid": uid} for owner in (owners if isinstance(owners, list) else [])]
        complete = {**each, "metadata": {**metadata, "ownerReferences": known}}
        yield {**complete, "data": dict[str, Json](secrets_of(secrets))} if each["kind"] == "Secret" else complete


def secrets_of(secrets: Mapping[str, str]) -> Mapping[str, str]:
    """The values of the secrets, in base64, by variable. Raises DeployerError for one that is not set here."""
    unset = [f"{name} from {source}" for name, source in secrets.items() if source not in os.environ]
    if unset:
        raise DeployerError(f"secrets are to be read from variables that are not set here: {', '.join(unset)}")
    return {name: b64encode(os.environb[source.encode()]).decode() for name, source in secrets.items()}


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
