"""What the tuner made on a cluster with OME: models and runtimes, which stay, and the servers of trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_cluster import Cluster, metadata_of, name_of, notes_of
from optuna_tuner.deployers.kubernetes_patch import OURS
from optuna_tuner.deployers.kubernetes_pod import Facts, condition
from optuna_tuner.deployers.kubernetes_refusal import RefusedError
from optuna_tuner.deployers.kubernetes_request import NAME_LABEL
from optuna_tuner.deployers.ome.ensure import Config, differences, resource_of
from optuna_tuner.deployers.ome.options import MADE, ORIGIN, OmeOptions
from optuna_tuner.deployers.ome.request import read_body
from optuna_tuner.deployers.ome.shapes import MODEL, RUNTIME, at
from optuna_tuner.errors import ConflictError, DeployerError, NotFoundError
from optuna_tuner.values import Request

if TYPE_CHECKING:
    from optuna_tuner.deployers.kubernetes_api import Api

_SERVICES = "inferenceservices"
_GOES_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One object that is there."""

    kind: str
    name: str
    origin: str  # the preset of a model or a runtime, the study's id of a server
    state: str  # as OME says it; empty where it says nothing
    since: str  # ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the cluster would say of one object of a study."""

    kind: str
    name: str
    ok: bool
    said: str


def things(options: ClusterOptions) -> Iterator[Thing]:
    """All that the tuner made: models and runtimes of the cluster, servers of the namespace. Raises DeployerError."""
    api = Cluster(options).api
    for kind in (MODEL, RUNTIME):
        for each in api.list(resource_of(kind), "", labels=MADE):
            yield _thing(
                kind, each, str(notes_of(each, "annotations").get(ORIGIN, "")), str(at(each, "status", "state"))
            )
    for each in api.list(_SERVICES, options.namespace, labels=NAME_LABEL):
        status = each.get("status")
        ready = condition(status if isinstance(status, dict) else {}, "Ready").get("status") == "True"
        study = str(notes_of(each, "labels").get(f"{OURS}study", ""))
        yield _thing("InferenceService", each, study, "Ready" if ready else "not ready")


def _thing(kind: str, found: Facts, origin: str, state: str) -> Thing:
    since = str(metadata_of(found).get("creationTimestamp") or "")
    return Thing(kind=kind, name=name_of(found), origin=origin, state="" if state == "None" else state, since=since)


def delete(options: ClusterOptions, name: str) -> tuple[str, ...]:
    """Take away the model or the runtime of this name that the tuner made, or both; returns their kinds.

    Raises NotFoundError, ConflictError for one that somebody else made or that is used in the namespace, and
    DeployerError.
    """
    api = Cluster(options).api
    found = {kind: api.get(resource_of(kind), name, "") for kind in (MODEL, RUNTIME)}
    there = {kind: each for kind, each in found.items() if each is not None}
    if not there:
        raise NotFoundError(f'the cluster has no {MODEL} and no {RUNTIME} "{name}"; see optuna-tuner ome list')
    for kind, each in there.items():
        if MADE not in notes_of(each, "labels"):
            raise ConflictError(
                f"the {kind} {name} was not made by the tuner (label {MADE}); kubectl delete takes it away"
            )
    parts = {MODEL: "model", RUNTIME: "runtime"}
    for each in api.list(_SERVICES, options.namespace):
        if any(at(each, "spec", parts[kind], "name") == name for kind in there):
            raise ConflictError(f"{name} is used by the InferenceService {name_of(each)} in {options.namespace}")
    for kind in there:
        _take_away(api, kind, name)
    return tuple(there)


def _take_away(api: Api, kind: str, name: str) -> None:
    def look() -> bool | None:
        return True if api.get(resource_of(kind), name, "") is None else None

    api.delete(resource_of(kind), name, "")
    if poll(look, Deadline.after(_GOES_S)) is None:
        raise DeployerError(f"the {kind} {name} is deleted, and does not go: OME's manager does not answer")


def verdicts(options: OmeOptions, request: Request) -> Iterator[Verdict]:
    """What the cluster would say of a study's objects. Nothing is made: dry runs, and a look at what is there."""
    api, body = Cluster(options).api, read_body(request)
    missing = False
    for config in (options.clusterbasemodel_config, options.clusterservingruntime_config):
        found = api.get(resource_of(config.kind), config.called, "")
        missing = missing or found is None
        ok, said = _compared(config, found) if found else _tried(options, config.manifest, "")
        yield Verdict(kind=config.kind, name=config.called, ok=ok, said=said)
    if missing:  # OME refuses a service before its model is there
        said = "not asked: its model and its runtime are made first"
        yield Verdict(kind="InferenceService", name=request.name, ok=True, said=said)
        return
    ok, said = _tried(options, body.service, options.namespace)
    yield Verdict(kind="InferenceService", name=request.name, ok=ok, said=said)


def _compared(config: Config, found: Facts) -> tuple[bool, str]:
    wrong = list(differences(config.claims, found.get("spec")))
    if wrong:
        return False, f"another one is there: {'; '.join(wrong)}"
    state = at(found, "status", "state")
    return True, "there" if config.kind == RUNTIME else f"there: {state or 'no node has looked at it yet'}"


def _tried(options: OmeOptions, thing: Facts | None, namespace: str) -> tuple[bool, str]:
    if thing is None:
        return False, "not there, and only named"
    try:
        Cluster(options).api.create(thing, namespace, only_test=True)
    except RefusedError as error:
        return False, str(error)
    return True, "would be made"
