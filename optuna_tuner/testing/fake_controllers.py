"""What the control plane of a fake cluster does by itself: Jobs get pods, pods get a node, what is over goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

from optuna_tuner.testing.fake_kubelet import Kubelet, set_condition
from optuna_tuner.testing.fake_objects import Object, Objects, mark_deleted, part, parts
from optuna_tuner.testing.fake_ome import LABEL, Ome
from optuna_tuner.values import Json

NODE = "node-1"
GPU = "nvidia.com/gpu"


@dataclass(slots=True)
class Controllers:
    """One node with so many GPUs. `quota`: the most of each resource that the pods of a namespace may ask for."""

    objects: Objects
    kubelet: Kubelet
    ome: Ome
    gpus: int = 8
    node_labels: Mapping[str, str] = field(default_factory=dict)
    claims: set[str] = field(default_factory=set)
    quota: Mapping[str, int] = field(default_factory=dict)
    holds_deletions: bool = False

    def step(self) -> None:
        """Bring everything a step on."""
        self.ome.step()
        for (resource, namespace, name), thing in list(self.objects.held.items()):
            if resource == "jobs":
                self._tend_job(namespace, name, thing)
        for (resource, namespace, name), thing in list(self.objects.held.items()):
            if resource == "pods" and self._tend_pod(thing) and not self.holds_deletions:
                self.objects.remove("pods", namespace, name)

    def pods_of(self, namespace: str, owner: str) -> list[Object]:
        """Those of a Job or of an InferenceService, whatever their state."""
        found = (self.objects.list("pods", namespace, f"{label}={owner}") for label in ("job-name", LABEL))
        return [pod for pods in found for pod in pods]

    def _tend_job(self, namespace: str, name: str, job: Object) -> None:
        status, spec, pods = part(job, "status"), part(job, "spec"), self.pods_of(namespace, name)
        if not status.get("startTime"):
            status["startTime"] = _now()
        over = next((each for each in parts(status, "conditions") if each["type"] in {"Complete", "Failed"}), None)
        if over:
            if _age_s(str(status["completionTime"])) > cast("int", spec["ttlSecondsAfterFinished"]):
                self.objects.remove("jobs", namespace, name)
            return
        if _age_s(str(status["startTime"])) > cast("int", spec["activeDeadlineSeconds"]):
            for pod in pods:
                mark_deleted(pod, 1)
            _finish(job, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
        elif not pods and not status.get("hadPod"):
            status["hadPod"] = self._make_pod(job)
        elif pods and all(map(_is_taken_away, pods)):
            self._make_pod(job)  # as a real one does, and at once
        elif not pods or part(pods[0], "status")["phase"] == "Failed":
            _finish(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif part(pods[0], "status")["phase"] == "Succeeded":
            _finish(job, "Complete", "CompletionsReached", "")

    def _make_pod(self, job: Object) -> bool:
        metadata, template = part(job, "metadata"), part(part(job, "spec"), "template")
        name, namespace = str(metadata["name"]), str(metadata["namespace"])
        own = f"{name}-{uuid4().hex[:5]}"
        refused = self._over_quota(template, namespace)
        if refused:
            self.objects.tell(job, "FailedCreate", f'Error creating: pods "{own}" is forbidden: {refused}')
            return False
        labels = {**part(part(template, "metadata"), "labels"), "job-name": name}
        owner: Json = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": metadata["uid"]}
        about: Json = {"name": own, "labels": labels, "ownerReferences": [owner]}
        status: Json = {"phase": "Pending", "conditions": []}
        self.objects.create("pods", namespace, {"metadata": about, "spec": template["spec"], "status": status})
        self.objects.tell(job, "SuccessfulCreate", f"Created pod: {own}")
        return True

    def _over_quota(self, template: Object, namespace: str) -> str:
        for resource, most in self.quota.items():
            name = resource.removeprefix("requests.")
            asked = _asked(template, name)
            used = sum(_asked(each, name) for each in self.objects.list("pods", namespace))
            if asked + used > most:
                figures = f"requested: {resource}={asked}, used: {resource}={used}, limited: {resource}={most}"
                return f"exceeded quota: team, {figures}"
        return ""

    def _tend_pod(self, pod: Object) -> bool:
        """Whether it is gone."""
        if part(pod, "spec").get("nodeName"):
            return self.kubelet.tend(pod)
        if part(pod, "metadata").get("deletionTimestamp"):
            return True
        why = self._why_not_here(pod)
        scheduled: Object = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
        if not why:
            part(pod, "spec")["nodeName"] = NODE
            scheduled = {"type": "PodScheduled", "status": "True"}
        set_condition(pod, scheduled)
        return False

    def _why_not_here(self, pod: Object) -> str:
        spec = part(pod, "spec")
        for volume in parts(spec, "volumes"):
            claim = part(dict(volume), "persistentVolumeClaim").get("claimName")
            if claim and claim not in self.claims:
                return f'0/1 nodes are available: persistentvolumeclaim "{claim}" not found.'
        if not part(spec, "nodeSelector").items() <= dict(self.node_labels).items():
            return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        placed = [each for (kind, _, _), each in self.objects.held.items() if kind == "pods" and _holds(each)]
        if _asked(pod, GPU) + sum(_asked(each, GPU) for each in placed) > self.gpus:
            return f"0/1 nodes are available: 1 Insufficient {GPU}."
        return ""


def _is_taken_away(pod: Object) -> bool:
    """Whether somebody deleted it while it ran."""
    return bool(part(pod, "metadata").get("deletionTimestamp")) and part(pod, "status")["phase"] != "Failed"


def _asked(pod: Object, resource: str) -> int:
    [container] = parts(part(pod, "spec"), "containers")
    return int(str(part(part(dict(container), "resources"), "requests").get(resource) or 0))


def _holds(pod: Object) -> bool:
    return bool(part(pod, "spec").get("nodeName")) and part(pod, "status")["phase"] in {"Pending", "Running"}


def _finish(job: Object, kind: str, reason: str, message: str) -> None:
    part(job, "status")["completionTime"] = _now()
    set_condition(job, {"type": kind, "status": "True", "reason": reason, "message": message})


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _age_s(since: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
