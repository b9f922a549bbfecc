"""What the manager of OME does on a fake cluster: it fetches models, and keeps up one pod for each InferenceService.

It answers as its source says it does (github.com/sgl-project/ome, v0.1.5), as far as the deployer `ome` asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import cast
from uuid import uuid4

from optuna_tuner.testing.fake_benchmark_job import FINALIZER, JOBS, BenchmarkJobs
from optuna_tuner.testing.fake_kubelet import is_ready, set_condition
from optuna_tuner.testing.fake_objects import Object, Objects, RefusalError, mark_deleted, now, part, parts
from optuna_tuner.values import Json

MODELS, RUNTIMES, SERVICES = "clusterbasemodels", "clusterservingruntimes", "inferenceservices"
LABEL = "ome.io/inferenceservice"
_FINALIZERS: Mapping[str, str] = {
    SERVICES: "inferenceservice.finalizers",
    MODELS: "clusterbasemodels.ome.io/finalizer",
    JOBS: FINALIZER,
}
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KEYS = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath", "volumes": "name"}
_OF_COMPONENT = ("minReplicas", "maxReplicas", "labels", "annotations", "runner", "timeoutSeconds")
_FETCHED: Object = {"modelFormat": {"name": "safetensors", "version": "1.0.0", "operator": "Equal", "weight": 1}}


@dataclass(slots=True)
class Ome:
    """`up`: its manager runs; `fetches`: a node can get the models; `quota`: why no pod is made, if none is."""

    objects: Objects
    up: bool = True
    fetches: bool = True
    is_installed: bool = True
    quota: str = ""
    benchmarks: BenchmarkJobs = field(init=False)

    def __post_init__(self) -> None:
        self.benchmarks = BenchmarkJobs(self.objects)

    def admit(self, resource: str, thing: Object) -> None:
        """Its admission webhooks. Raises RefusalError."""
        if not self.up:
            raise RefusalError(500, "InternalError", 'Internal error occurred: failed calling webhook "ome"')
        if part(part(thing, "spec"), "acceleratorRequirements").get("acceleratorClasses"):
            raise _denied("unknown accelerator classes")  # it knows none
        if resource == JOBS:
            self.benchmarks.admit(thing)
        if resource != SERVICES:
            return
        name, spec = str(part(thing, "metadata")["name"]), part(thing, "spec")
        if not _NAME.fullmatch(name):
            raise _denied(f'the InferenceService "{name}" is invalid: a name must match {_NAME.pattern}')
        if (MODELS, "", str(part(spec, "model").get("name"))) not in self.objects.held:
            raise _denied(f"ClusterBaseModel {part(spec, 'model').get('name')} not found")

    def step(self) -> None:
        """Bring everything a step on."""
        if not self.up:
            return
        for (resource, namespace, name), thing in list(self.objects.held.items()):
            if resource in _FINALIZERS:
                part(thing, "metadata").setdefault("finalizers", [_FINALIZERS[resource]])
            if resource == MODELS:
                self._tend_model(name, thing)
            elif resource == SERVICES:
                self._tend_service(namespace, name, thing)
            elif resource == JOBS:
                self.benchmarks.tend(namespace, name, thing)

    def _tend_model(self, name: str, model: Object) -> None:
        if part(model, "metadata").get("deletionTimestamp"):
            self.objects.remove(MODELS, "", name)
            return
        part(model, "status")["state"] = "Ready" if self.fetches else "In_Transit"
        if self.fetches:
            for key, value in _FETCHED.items():
                part(model, "spec").setdefault(key, deepcopy(value))

    def _tend_service(self, namespace: str, name: str, service: Object) -> None:
        pods = list(self.objects.list("pods", namespace, f"{LABEL}={name}"))
        if part(service, "metadata").get("deletionTimestamp"):
            for pod in pods:
                mark_deleted(pod, 30)
            if not pods:
                self.objects.remove(SERVICES, namespace, name)
            return
        engine = self._engine(service)
        if engine is None:
            return
        if not pods:
            self._make_pod(service, engine)
        self._tell(service, ready=any(map(is_ready, pods)))

    def _engine(self, service: Object) -> Object | None:
        """The runtime's part, with the service's over it; None, and why, where there is none."""
        spec = part(service, "spec")
        model = self.objects.held.get((MODELS, "", str(part(spec, "model").get("name"))), {})
        runtime = self.objects.held.get((RUNTIMES, "", str(part(spec, "runtime").get("name"))))
        if part(model, "status").get("state") != "Ready":
            self._fail(service, "BaseModelNotReady", "the base model is not ready on any node")
        elif runtime is None:
            self._fail(service, "RuntimeNotRecognized", "specified runtime does not exist")
        elif not _serves(runtime, model):
            self.objects.tell(service, "RuntimeValidationError", "runtime does not support model architecture")
        else:
            return merged(part(part(runtime, "spec"), "engineConfig"), part(spec, "engine"))
        return None

    def _fail(self, service: Object, reason: str, message: str) -> None:
        status = part(part(service, "status"), "modelStatus")
        status["transitionStatus"] = "InProgress" if reason == "BaseModelNotReady" else "InvalidSpec"
        status["lastFailureInfo"] = {"reason": reason, "message": message}

    def _make_pod(self, service: Object, engine: Object) -> None:
        metadata = part(service, "metadata")
        name, namespace = str(metadata["name"]), str(metadata["namespace"])
        about: Object = {"name": f"{name}-engine-5d9c7b7f4d", "namespace": namespace, "uid": metadata["uid"]}
        runner = part(engine, "runner")
        if not runner.get("name"):
            self.objects.tell(service, "InternalError", "Deployment is invalid: containers[0].name: Required value")
            return
        if self.quota:
            self.objects.tell({"metadata": about}, "FailedCreate", f"Error creating: {self.quota}")
            return
        path: Json = {"name": "MODEL_PATH", "value": part(self._storage(service), "storage").get("path", "/model")}
        container: Object = {**runner, "env": [path, *parts(runner, "env")]}
        spec: Object = {key: value for key, value in engine.items() if key not in _OF_COMPONENT}
        labels: Object = {**part(engine, "labels"), LABEL: name, "component": "engine", "app": f"{name}-engine"}
        owner: Json = {"kind": "ReplicaSet", "name": about["name"], "uid": f"replicas-of-{metadata['uid']}"}
        pod: Object = {
            "metadata": {"name": f"{about['name']}-{uuid4().hex[:5]}", "labels": labels, "ownerReferences": [owner]},
            "spec": {**spec, "restartPolicy": "Always", "containers": [container]},
            "status": {"phase": "Pending", "conditions": []},
        }
        self.objects.create("pods", namespace, pod)
        self._make_service(service, container)

    def _make_service(self, service: Object, container: Object) -> None:
        metadata = part(service, "metadata")
        name, namespace = f"{metadata['name']}-engine", str(metadata["namespace"])
        if ("services", namespace, name) in self.objects.held:
            return
        ports = parts(container, "ports")
        port: Json = ports[0]["containerPort"] if ports else 8080
        owner: Json = {"kind": "InferenceService", "name": metadata["name"], "uid": metadata["uid"]}
        spec: Object = {"selector": {LABEL: metadata["name"]}, "ports": [{"port": port, "targetPort": port}]}
        about: Object = {"name": name, "labels": {LABEL: metadata["name"]}, "ownerReferences": [owner]}
        self.objects.create("services", namespace, {"metadata": about, "spec": spec})

    def _storage(self, service: Object) -> Object:
        model = str(part(part(service, "spec"), "model")["name"])
        return part(self.objects.held[MODELS, "", model], "spec")

    def _tell(self, service: Object, *, ready: bool) -> None:
        metadata, said = part(service, "metadata"), "True" if ready else "False"
        for kind in ("EngineReady", "Ready"):
            set_condition(service, {"type": kind, "status": said, "lastTransitionTime": now()})
        set_condition(service, {"type": "IngressReady", "status": "True", "reason": "IngressDisabled"})
        host = f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
        part(service, "status")["url"] = f"http://{host}:8080"


def merged(base: Object, patch: Object) -> Object:
    """As OME merges a runtime and a service: mappings by name, some lists by a key, all else replaced."""
    result = deepcopy(base)
    for name, change in patch.items():
        old = result.get(name)
        if isinstance(change, dict) and isinstance(old, dict):
            result[name] = merged(old, change)
        elif isinstance(change, list) and isinstance(old, list) and name in _KEYS:
            both = [cast("Object", each) for each in (*old, *change)]
            result[name] = list({str(each[_KEYS[name]]): each for each in both}.values())
        else:
            result[name] = deepcopy(change)
    return result


def _serves(runtime: Object, model: Object) -> bool:
    formats, has = parts(part(runtime, "spec"), "supportedModelFormats"), part(model, "spec")
    fits = [each for each in formats if each.get("modelArchitecture") == has.get("modelArchitecture")]
    return not formats or bool(fits)


def _denied(why: str) -> RefusalError:
    return RefusalError(403, "Forbidden", f'admission webhook "ome" denied the request: {why}')
