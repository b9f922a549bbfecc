"""Manifests: a Deployment with one server, and a Service before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from optuna_tuner.errors import ExportError
from optuna_tuner.results.export import DEFAULT_HOST
from optuna_tuner.results.export.compose import as_yaml
from optuna_tuner.results.export.container import demand_image, items, mapping
from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.taken import Taken
from optuna_tuner.values import Json

DEPLOYER = "kubernetes"
_OURS = "optuna-tuner/"
_LONGEST = 63
_READY_EVERY_S = 10


def kubernetes(taken: Taken) -> str:
    """The pod that the deployer `kubernetes` sends, without our labels and its deadline, kept up by a Deployment."""
    demand_image(taken)
    demand_service(taken)
    name = kubernetes_name(taken)
    job = _job(taken, name)
    namespace = mapping(job["metadata"])["namespace"]
    template = mapping(mapping(job["spec"])["template"])
    documents = (_deployment(name, namespace, template, taken), _service(name, namespace, taken.asked.port))
    lines = (*heading(taken), *_how(taken, name, str(namespace), mapping(template["spec"])))
    return comment(lines) + "---\n".join(map(as_yaml, documents))


def demand_service(taken: Taken) -> None:
    """Raise ExportError for an address: a Service is reached by its name."""
    if taken.asked.host != DEFAULT_HOST:
        raise ExportError("a Service is reached by its name in the cluster; leave --host out")


def _job(taken: Taken, name: str) -> Mapping[str, Json]:
    changes = {} if taken.study.spec.deployer.kind == DEPLOYER else {"gpus": taken.launch.gpus}
    return mapping(taken.body(DEPLOYER, changes, name)["job"])


def pod_of(taken: Taken, name: str) -> tuple[Mapping[str, Json], str]:
    """The pod that the deployer sends, and its namespace."""
    job = _job(taken, name)
    pod = mapping(mapping(mapping(job["spec"])["template"])["spec"])
    return pod, str(mapping(job["metadata"])["namespace"])


def without_ours(thing: Mapping[str, Json]) -> Mapping[str, Json]:
    """An object without the labels and annotations that are for trials."""
    about = mapping(thing["metadata"])
    notes = {
        kind: {key: value for key, value in mapping(about[kind]).items() if not key.startswith(_OURS)}
        for kind in ("labels", "annotations")
        if kind in about
    }
    rest = {key: value for key, value in about.items() if key not in notes}
    return {**thing, "metadata": {**rest, **{kind: said for kind, said in notes.items() if said}}}


def kubernetes_name(taken: Taken, reserved: int = 0) -> str:
    """Study and trial, as Kubernetes takes a name: it begins with a letter, and leaves room for so much behind it."""
    trial = f"-trial-{taken.trial.number}"
    words = re.sub(r"[^a-z0-9]+", "-", taken.study.name.lower()).strip("-")
    known = words if words[:1].isalpha() else f"study-{words}".strip("-")
    return f"{known[: _LONGEST - reserved - len(trial)].rstrip('-')}{trial}"


def _deployment(name: str, namespace: Json, template: Mapping[str, Json], taken: Taken) -> dict[str, Json]:
    about = mapping(template["metadata"])
    labels = {key: value for key, value in mapping(about["labels"]).items() if not key.startswith(_OURS)}
    pod = {key: value for key, value in mapping(template["spec"]).items() if key != "restartPolicy"}
    startup_s = int(taken.study.spec.limits.startup_s)
    pod["containers"] = [_container(mapping(each), startup_s) for each in items(pod["containers"])]
    known: dict[str, Json] = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {**labels, **known}},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # two would need twice the GPUs
            "progressDeadlineSeconds": startup_s + 600,
            "selector": {"matchLabels": known},
            "template": {"metadata": {**about, "labels": {**labels, **known}}, "spec": pod},
        },
    }


def _container(container: Mapping[str, Json], startup_s: int) -> Json:
    """With a bound on its start, and taken out of its Service while it does not answer."""
    if "startupProbe" not in container:  # one that the study added by its patch
        return dict(container)
    probe = mapping(container["startupProbe"])
    asked = dict(mapping(probe["httpGet"]))
    ready: Json = {"httpGet": asked, "periodSeconds": _READY_EVERY_S, "timeoutSeconds": _READY_EVERY_S}
    return {
        **container,
        "startupProbe": {**probe, "failureThreshold": _tries(startup_s, probe)},
        "readinessProbe": ready,
    }


def _tries(startup_s: int, probe: Mapping[str, Json]) -> int:
    period = probe["periodSeconds"]
    return max(1, startup_s // period if isinstance(period, int) else 1)


def startup_tries(taken: Taken, probe: Mapping[str, Json]) -> int:
    """How often a probe may fail, so that a start may take as long as in the study."""
    return _tries(int(taken.study.spec.limits.startup_s), probe)


def find_model(taken: Taken, pod: Mapping[str, Json]) -> Iterator[str]:
    """What is to be done where no volume holds the model's files."""
    path = taken.launch.model.path
    mounts = [
        mapping(mount) for each in items(pod["containers"]) for mount in items(mapping(each).get("volumeMounts", []))
    ]
    if path.startswith("/") and not any(f"{path}/".startswith(f"{mount['mountPath']}/") for mount in mounts):
        yield f"No volume holds the model: mount one that has it at {path}."


def make_secret(taken: Taken, name: str, namespace: str) -> Iterator[str]:
    """What is to be done first where the launch has secrets."""
    if taken.launch.secrets:
        said = " ".join(f'--from-literal={each}="${source}"' for each, source in taken.launch.secrets.items())
        yield f"First make its Secret: kubectl create secret generic {name} --namespace {namespace} {said}"


def _service(name: str, namespace: Json, port: int) -> dict[str, Json]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": "http"}]},
    }


def _how(taken: Taken, name: str, namespace: str, pod: Mapping[str, Json]) -> Iterator[str]:
    yield from find_model(taken, pod)
    yield from make_secret(taken, name, namespace)
    where = f"--namespace {namespace} service/{name} {taken.asked.port}"
    yield f"Start it: kubectl apply --filename THIS_FILE. Ask it: kubectl port-forward {where}"
    yield "Whoever reaches the namespace's pods can use it: it asks nobody for a key."
