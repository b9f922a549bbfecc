"""What the manager of OME does with a BenchmarkJob on a fake cluster: one Job that runs genai-bench, and a status.

It answers as its source says it does (github.com/sgl-project/ome, pkg/controller/v1beta1/benchmark), with its gaps:
what it checks and gives to nobody, and what it calls running although it never can.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import cast

from optuna_tuner.clock import now as seconds
from optuna_tuner.testing.fake_objects import Object, Objects, RefusalError, part, parts
from optuna_tuner.values import Json

JOBS = "benchmarkjobs"
FINALIZER = "benchmarkjob.finalizers"
_PAIR = r"\(\d+,\d+\)"
_SCENARIO = re.compile(rf"N{_PAIR}/{_PAIR}|U{_PAIR}(/{_PAIR})?|D{_PAIR}")
_IMAGE = "ghcr.io/sgl-project/genai-bench:0.1.113"
_KEPT = ("image", "env", "resources")


@dataclass(slots=True)
class BenchmarkJobs:
    """`looks_every_s`: how often it looks whether a server is ready that was not."""

    objects: Objects
    looks_every_s: float = 60.0
    _look_at: dict[str, float] = field(default_factory=dict)

    def admit(self, thing: Object) -> None:
        """Its webhook. Raises RefusalError."""
        spec = part(thing, "spec")
        endpoint = part(spec, "endpoint")
        if len(endpoint.keys() & {"inferenceService", "endpoint"}) != 1:
            raise _denied("exactly one of inferenceService and endpoint")
        for each in cast("list[str]", spec.get("trafficScenarios") or []):
            if not _SCENARIO.fullmatch(each):
                raise _denied(f"invalid traffic scenario {each}")

    def tend(self, namespace: str, name: str, thing: Object) -> None:
        """Bring one a step on."""
        metadata, status = part(thing, "metadata"), part(thing, "status")
        job = self.objects.held.get(("jobs", namespace, name))
        if metadata.get("deletionTimestamp"):
            self.objects.remove(JOBS, namespace, name)
            return
        if job is None:
            status.setdefault("state", "Pending")
            if self._is_ready(namespace, name, thing):
                self._make(namespace, name, thing)
            return
        over = [str(each["type"]) for each in parts(part(job, "status"), "conditions") if each["status"] == "True"]
        if "Failed" in over:
            status.update({"state": "Failed", "failureMessage": "Job has reached the specified backoff limit"})
        else:  # also where no pod of it will ever run
            status["state"] = "Completed" if over else "Running"

    def _is_ready(self, namespace: str, name: str, thing: Object) -> bool:
        """Asked once in a while only: it comes back to a server that is not ready after a minute."""
        if seconds() < self._look_at.get(name, 0.0):
            return False
        self._look_at[name] = seconds() + self.looks_every_s
        wanted = str(part(part(part(thing, "spec"), "endpoint"), "inferenceService")["name"])
        service = self.objects.held.get(("inferenceservices", namespace, wanted), {})
        known = parts(part(service, "status"), "conditions") if service else []
        return any((each["type"], each["status"]) == ("Ready", "True") for each in known)

    def _make(self, namespace: str, name: str, thing: Object) -> None:
        metadata, over = part(thing, "metadata"), part(part(thing, "spec"), "podOverride")
        claim, _, folder = str(part(part(thing, "spec"), "outputLocation")["storageUri"])[6:].partition("/")
        container: Object = {
            "name": "genai-bench" if over else name,
            "image": _IMAGE,
            "command": ["genai-bench", "benchmark", *self._arguments(namespace, thing), f"/{folder}"],
            **{key: value for key, value in over.items() if key in _KEPT},
            "volumeMounts": [{"name": "results", "mountPath": f"/{folder}", "subPath": folder}],
        }
        owner: Json = {"kind": "BenchmarkJob", "name": name, "uid": metadata["uid"]}
        pod: Object = {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": claim}}],
            **{key: value for key, value in over.items() if key not in _KEPT},
        }
        labels: Json = {"benchmark": name}
        self.objects.create(
            "jobs",
            namespace,
            {
                "kind": "Job",
                "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
                "spec": {
                    "activeDeadlineSeconds": 10**9,
                    "ttlSecondsAfterFinished": 10**9,
                    "template": {"metadata": {"labels": deepcopy(labels)}, "spec": pod},
                },
            },
        )

    def _arguments(self, namespace: str, thing: Object) -> list[str]:
        """Neither the request parameters nor the dataset are among them."""
        spec = part(thing, "spec")
        wanted = str(part(part(spec, "endpoint"), "inferenceService")["name"])
        service = self.objects.held["inferenceservices", namespace, wanted]
        model = self.objects.held["clusterbasemodels", "", str(part(part(service, "spec"), "model")["name"])]
        path = part(part(model, "spec"), "storage").get("path", "/model")
        pairs: list[tuple[str, Json]] = [
            ("--api-backend", "openai"),
            ("--api-base", self._address(namespace, wanted)),
            ("--api-model-name", "vllm-model"),
            ("--task", spec["task"]),
            ("--max-time-per-run", spec["maxTimePerIteration"]),
            ("--max-requests-per-run", spec["maxRequestsPerIteration"]),
            ("--api-key", "sample-key"),
            ("--model-tokenizer", path),
            *(("--traffic-scenario", each) for each in cast("list[Json]", spec.get("trafficScenarios") or [])),
            *(("--num-concurrency", each) for each in cast("list[Json]", spec.get("numConcurrency") or [])),
            ("--experiment-folder-name", spec["resultFolderName"]),
        ]
        return [*(str(word) for pair in pairs for word in pair), "--experiment-base-dir"]

    def _address(self, namespace: str, service: str) -> str:
        """Of the service's pod: there is no DNS here that would know the URL of its status."""
        [pod] = self.objects.list("pods", namespace, f"ome.io/inferenceservice={service}")
        [container] = parts(part(pod, "spec"), "containers")
        ports = parts(container, "ports")
        return f"http://{part(pod, 'status')['podIP']}:{ports[0]['containerPort'] if ports else 8080}"


def _denied(why: str) -> RefusalError:
    return RefusalError(403, "Forbidden", f'admission webhook "benchmarkjob" denied the request: {why}')
