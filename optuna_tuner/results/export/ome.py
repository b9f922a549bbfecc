"""Manifests for a cluster with OME: the service that was measured, and the model and runtime that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optuna_tuner.errors import ExportError
from optuna_tuner.results.export.compose import as_yaml
from optuna_tuner.results.export.container import items, mapping, texts
from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.kubernetes import demand_service, kubernetes_name, make_secret, without_ours
from optuna_tuner.results.export.taken import Taken
from optuna_tuner.values import Json

DEPLOYER = "ome"
_SUFFIX = len("-engine")  # OME adds it to the names of what it makes of a service


def ome(taken: Taken) -> str:
    """What the deployer `ome` sends, without our labels. Raises ExportError for a study of another deployer."""
    demand_service(taken)
    if taken.study.spec.deployer.kind != DEPLOYER:
        raise ExportError(
            f"the study was deployed with {taken.study.spec.deployer.kind}, which names no model and no runtime of "
            "OME; take --to kubernetes"
        )
    name = kubernetes_name(taken, reserved=_SUFFIX)
    body = taken.body(DEPLOYER, {}, name)
    service = mapping(body["service"])
    spec = mapping(service["spec"])
    engine = mapping(spec["engine"])
    kept: Json = {**without_ours(service), "spec": {**spec, "engine": _labelled(engine)}}
    documents = [*(without_ours(mapping(each)) for each in items(body["needed"])), mapping(kept)]
    lines = (*heading(taken), *_how(taken, name, service, body))
    return comment(lines) + "---\n".join(map(as_yaml, documents))


def _labelled(engine: Mapping[str, Json]) -> Json:
    labels = mapping(without_ours({"metadata": {"labels": engine["labels"]}})["metadata"])
    rest = {key: value for key, value in engine.items() if key != "labels"}
    return {**rest, **labels}


def _how(taken: Taken, name: str, service: Mapping[str, Json], body: Mapping[str, Json]) -> Iterator[str]:
    namespace = str(mapping(service["metadata"])["namespace"])
    if items(body["needed"]):
        yield "Model and runtime belong to the whole cluster: leave out what is there already."
    else:
        yield "Its model and its runtime are those of the cluster."
    yield from make_secret(taken, name, namespace)
    words = texts(mapping(mapping(mapping(service["spec"])["engine"])["runner"])["args"])
    ports = f"{taken.asked.port}:{words[words.index('--port') + 1]}" if "--port" in words else str(taken.asked.port)
    where = f"--namespace {namespace} service/{name} {ports}"
    yield f"Start it: kubectl apply --filename THIS_FILE. Ask it: kubectl port-forward {where}"
    yield "Whoever reaches the namespace's pods can use it: it asks nobody for a key."
