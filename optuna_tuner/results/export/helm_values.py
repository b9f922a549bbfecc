"""Values for the Helm chart of vLLM's production stack: https://github.com/vllm-project/production-stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optuna_tuner.errors import ExportError
from optuna_tuner.results.export.compose import as_yaml
from optuna_tuner.results.export.container import demand_image, items, mapping, texts
from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.kubernetes import (
    demand_service,
    find_model,
    kubernetes_name,
    make_secret,
    pod_of,
    startup_tries,
)
from optuna_tuner.results.export.taken import Taken
from optuna_tuner.values import Json

_COMMAND = ["vllm", "serve"]
_PORT = 8000  # the chart's own
_LONGEST = 63 - len("-deployment-vllm") - len("my-vllm-")  # the chart makes longer names of it


def helm_values(taken: Taken) -> str:
    """The pod that the deployer `kubernetes` sends, in the chart's words. Raises ExportError for another engine."""
    demand_image(taken)
    demand_service(taken)
    kind, argv = taken.study.spec.engine.kind, list(taken.launch.argv)
    if kind != "vllm" or argv[:2] != _COMMAND:
        raise ExportError(f"the chart starts `vllm serve`, and this study {kind} by {argv[0]}; take --to kubernetes")
    name = kubernetes_name(taken, reserved=63 - _LONGEST)
    pod, namespace = pod_of(taken, name)
    document: dict[str, Json] = {"servingEngineSpec": _serving(taken, name, pod)}
    lines = (*heading(taken), *find_model(taken, pod), *_how(taken, name, namespace))
    return comment(lines) + as_yaml(document)


def _serving(taken: Taken, name: str, pod: Mapping[str, Json]) -> dict[str, Json]:
    [container] = [mapping(each) for each in items(pod["containers"]) if mapping(each)["name"] == "server"]
    probe = mapping(container["startupProbe"])
    asked: Json = {"path": mapping(probe["httpGet"])["path"], "port": _PORT}
    tries = startup_tries(taken, probe)
    serving: dict[str, Json] = {
        "runtimeClassName": pod.get("runtimeClassName", ""),  # the chart's own default is nvidia
        "startupProbe": {"httpGet": asked, "periodSeconds": probe["periodSeconds"], "failureThreshold": tries},
        "tolerations": pod.get("tolerations"),
        "modelSpec": [_model(taken, name, pod, container)],
    }
    return {key: value for key, value in serving.items() if value is not None}


def _model(taken: Taken, name: str, pod: Mapping[str, Json], container: Mapping[str, Json]) -> Json:
    repository, _, tag = (taken.launch.image or "").rpartition(":")
    if not repository or "/" in tag or "@" in repository:
        raise ExportError(f"the chart wants an image with a tag, not {taken.launch.image}: --image NAME:TAG")
    arguments = _arguments(texts(container["command"]))
    limits = mapping(mapping(container.get("resources", {})).get("limits", {}))
    cores, memory = limits.get("cpu"), limits.get("memory")
    gpus = taken.launch.gpus
    model: dict[str, Json] = {
        "name": name,
        "repository": repository,
        "tag": tag,
        "modelURL": taken.launch.model.path,
        "replicaCount": 1,
        "requestGPU": gpus,
        "requestCPU": cores or str(4 * max(1, gpus)),
        "requestMemory": memory or f"{10 * max(1, gpus)}Gi",
        "limitCPU": cores,
        "limitMemory": memory,
        "vllmConfig": {
            # Without the first the chart would switch it off, and the second makes it mount /dev/shm.
            "enablePrefixCaching": "--no-enable-prefix-caching" not in arguments,
            "tensorParallelSize": taken.flags.get("tensor_parallel_size", 1),
            "extraArgs": list(arguments),
        },
        "shmSize": _shm(pod),
        "env": container.get("env"),
        "extraVolumes": _others(pod.get("volumes", []), "name"),
        "extraVolumeMounts": _others(container.get("volumeMounts", []), "name"),
        "nodeSelectorTerms": _selected(mapping(pod.get("nodeSelector", {}))),
        "priorityClassName": pod.get("priorityClassName"),
    }
    return {key: value for key, value in model.items() if value not in (None, [])}


def _arguments(command: Sequence[str]) -> Sequence[str]:
    """Behind model, host and port, which are the chart's."""
    return command[command.index("--port") + 2 :]


def _shm(pod: Mapping[str, Json]) -> Json:
    volumes = map(mapping, items(pod.get("volumes", [])))
    return next((mapping(each["emptyDir"])["sizeLimit"] for each in volumes if each["name"] == "shm"), None)


def _others(listed: Json, key: str) -> list[Json]:
    return [each for each in items(listed) if mapping(each)[key] != "shm"]


def _selected(labels: Mapping[str, Json]) -> list[Json]:
    expressions: list[Json] = [{"key": key, "operator": "In", "values": [value]} for key, value in labels.items()]
    return [{"matchExpressions": expressions}] if expressions else []


def _how(taken: Taken, name: str, namespace: str) -> Iterator[str]:
    yield "Add the chart: helm repo add vllm https://vllm-project.github.io/production-stack"
    yield from make_secret(taken, name, namespace)
    yield f"Start it: helm install my-vllm vllm/vllm-stack --namespace {namespace} --values THIS_FILE"
    where = f"--namespace {namespace} service/my-vllm-router-service {taken.asked.port}:80"
    yield f"Ask it: kubectl port-forward {where}. The chart's router stands before it, which was not measured."
    yield "Where the study asks for no cores or memory, they are the chart's own defaults by GPU."
