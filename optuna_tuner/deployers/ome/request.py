"""What the deployer `ome` sends, made by a pure function: an InferenceService, and what it needs and owns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, JsonValue, ValidationError

from optuna_tuner.deployers.container_words import image_problem
from optuna_tuner.deployers.kubernetes_parts import STRICT
from optuna_tuner.deployers.kubernetes_patch import merged
from optuna_tuner.deployers.kubernetes_request import (
    MODEL_NOTE,
    environment,
    literal,
    ours,
    placed,
    refuse_launch,
    secret_of,
)
from optuna_tuner.deployers.kubernetes_words import LONGEST
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.deployers.ome.shapes import CONTAINER, MODEL, RUNTIME, TEMPLATE, at
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json, Launch, Request

ENGINE = "-engine"  # what OME adds to a service's name for those of its server
MODEL_PATH = "$(MODEL_PATH)"  # OME sets the variable to where it has the model
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_MOST = LONGEST - len(ENGINE)


class OmeRequest(BaseModel):
    """The body of a request: the InferenceService, what it owns, the secrets whose values are added on the way.

    `needed` are its model and its runtime as they are made, before the first trial, where they are not there.
    """

    model_config = STRICT

    needed: tuple[Mapping[str, JsonValue], ...]
    service: Mapping[str, JsonValue]
    owned: tuple[Mapping[str, JsonValue], ...]
    secrets: Mapping[str, str]

    @property
    def namespace(self) -> str:
        """Where the service lies."""
        return str(at(self.service, "metadata", "namespace"))


def body_of(launch: Launch, name: str, labels: Mapping[str, str], options: OmeOptions) -> OmeRequest:
    """The launch as an InferenceService. Raises DeployerError for what cannot be sent."""
    _refuse(launch, name, labels, options)
    known = ours(name, labels, options.labels)
    metadata: dict[str, Json] = {"name": name, "namespace": options.namespace, "labels": known}
    service: dict[str, Json] = {
        "apiVersion": "ome.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {**metadata, "annotations": {**options.annotations, MODEL_NOTE: launch.model.name}},
        "spec": {
            "model": {"name": options.clusterbasemodel_config.called, "kind": MODEL},
            "runtime": {"name": options.clusterservingruntime_config.called, "kind": RUNTIME},
            "engine": _engine(launch, name, known, options),
        },
    }
    configs = (options.clusterbasemodel_config, options.clusterservingruntime_config)
    owner: Json = {"apiVersion": "ome.io/v1beta1", "kind": "InferenceService", "name": name}
    return OmeRequest(
        needed=tuple(each.manifest for each in configs if each.manifest is not None),
        service=merged(service, options.patch),
        owned=(secret_of({**metadata, "ownerReferences": [owner]}),) if launch.secrets else (),
        secrets=launch.secrets,
    )


def _engine(launch: Launch, name: str, labels: dict[str, Json], options: OmeOptions) -> dict[str, Json]:
    engine: dict[str, Json] = {
        "minReplicas": 1,  # none at all would be Knative's
        "maxReplicas": 1,
        "labels": labels,
        "annotations": dict[str, Json](options.annotations),
        "shareProcessNamespace": True,  # as process 1 a server would not hear SIGTERM, and would have orphans to reap
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called vllm would set VLLM_PORT, and so on
        "runner": dict(_runner(launch, name, options)),
    }
    return {key: value for key, value in engine.items() if value != {}}


def _runner(launch: Launch, secret: str, options: OmeOptions) -> Iterator[tuple[str, Json]]:
    """All that is of this trial; the rest of the container is the runtime's."""
    yield "name", CONTAINER  # without it OME would make one without a name
    if launch.image is not None:
        yield "image", launch.image
    words, first = list(_words(launch, options)), first_argument(launch.argv)
    if options.command == "engine":
        yield "command", words[:first]
    yield "args", words[first:]
    yield "env", list(environment(launch, secret, options.gpus_each))
    if options.gpus:
        asked: Json = {options.gpu_resource: str(options.gpus)}
        yield "resources", {"requests": asked, "limits": asked}
    if options.port:
        yield "ports", [{"containerPort": options.port, "name": "http1", "protocol": "TCP"}]


def first_argument(argv: Sequence[str]) -> int:
    """Where the program and its model end: at the first word that begins with two dashes."""
    return next((place for place, word in enumerate(argv) if word.startswith("--")), len(argv))


def _words(launch: Launch, options: OmeOptions) -> Iterator[Json]:
    """The whole command; the model is where OME has it."""
    places = [number for number, word in enumerate(launch.argv) if word == launch.model.path]
    if launch.model.path == launch.model.name:
        places = places[:-1]  # the last one is what clients call it
    for number, word in enumerate(launch.argv):
        yield MODEL_PATH if number in places[:1] else literal(placed(word, options.listens_at))


def _refuse(launch: Launch, name: str, labels: Mapping[str, str], options: OmeOptions) -> None:
    refuse_launch(launch, labels, options.gpus_each)
    if not _NAME.fullmatch(name) or len(name) > _MOST:
        wanted = f"at most {_MOST} small letters, digits and dashes, and begins with a letter"
        raise DeployerError(f'OME takes a name of {wanted}; it is "{name[:80]}"')
    problem = image_problem(launch.image, "ome") if launch.image is not None else None
    if problem:
        raise DeployerError(problem)
    if any(TEMPLATE in text for text in (*launch.argv, *launch.env.values())):
        raise DeployerError(f'"{TEMPLATE}" in an argument or a variable would begin an expression of OME\'s templates')


def read_body(request: Request) -> OmeRequest:
    """The body of a request that came back from JSON. Raises DeployerError when it is none of ours."""
    try:
        return OmeRequest.model_validate(request.body)
    except ValidationError as error:
        raise DeployerError(f"{request.name} is no request of the deployer ome: {error}") from error
