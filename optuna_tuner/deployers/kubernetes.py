"""Servers as Jobs of a Kubernetes cluster, without any operator."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers.kubernetes_misfits import misfits
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.deployers.kubernetes_patch import CONTAINER, OURS
from optuna_tuner.deployers.kubernetes_pod import Facts, Seen, state_of
from optuna_tuner.deployers.kubernetes_request import (
    MODEL_NOTE,
    NAME_LABEL,
    PORT,
    body_of,
    owned_by,
    read_body,
    secrets_of,
)
from optuna_tuner.deployers.kubernetes_rights import RIGHTS
from optuna_tuner.deployers.seldom import Seldom
from optuna_tuner.deployers.tunnel import Tunnel
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.values import Endpoint, Handle, Json, Launch, Request, Slot, State, Status

if TYPE_CHECKING:
    from optuna_tuner.deployers.kubernetes_api import Api

_FORWARD = "optuna_tuner.deployers.kubernetes_forward"
_FORWARDED = (
    "measured through a port-forward: latencies hold its way through the API server and the node; a worker in the "
    "cluster measures without it (deployer.reach: service)"
)
_END_S = 60.0  # after the grace, for the node to say that nothing of a pod is left
_MIB = 1 << 20


class Kubernetes(Deployer):
    """One Job a server, with one pod. It is never started again, and ends after `max_life_s` in any case.

    A Job outlives a worker that is killed; then the next reaper, from any machine, finds it by its labels.
    """

    kind: ClassVar[str] = "kubernetes"
    summary: ClassVar[str] = "Jobs of a Kubernetes cluster, one a server"
    Options: ClassVar[type[BaseModel]] = KubernetesOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = KubernetesOptions.model_validate(options.model_dump())
        self._seen: Seldom[Seen] = Seldom(self._options.poll_s)
        self._addresses: dict[str, str] = {}
        self._connecting = Lock()

    @property
    def gpus(self) -> int:
        """Those that the study asks for."""
        return self._options.gpus

    @property
    def remark(self) -> str:
        """That a port-forward lies between load client and server."""
        return _FORWARDED if self._options.reach == "port-forward" else ""

    @property
    def lag_s(self) -> float:
        """A cluster takes a node for up until its grace period has passed."""
        return self._options.lost_after_s

    def misfits(self, study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """No image, or none that can be; a model's path that is none; a trial that is longer than its Job."""
        return misfits(study, self._options)

    def prepare(self, launch: Launch) -> None:
        """Ask for the rights that are needed, and whether such a Job would be taken; makes nothing."""
        try:
            api, namespace = self.api, self._options.namespace
            needed = RIGHTS[""] + RIGHTS[self._options.reach] + (RIGHTS["secrets"] if launch.secrets else ())
            missing = [f"{verb} {what.strip('/')}" for verb, what in needed if not api.may(verb, what, namespace)]
            if missing:
                words = f"in the namespace {namespace} of {api.server} we may not: {', '.join(missing)}"
                raise EnvironmentFaultError(f"{words}; docs/how-to/deploy-with-kubernetes.md has a Role that allows it")
            api.create(body_of(launch, "optuna-tuner-test", {}, self._options).job, namespace, only_test=True)
        except DeployerError as error:
            raise EnvironmentFaultError(f"the cluster would not take the Job: {error}") from error

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:  # noqa: ARG002  the cluster chooses the devices
        """The Job and what belongs to it, as the API server takes them."""
        body = body_of(launch, name, labels, self._options)
        return Request(deployer=self.kind, name=name, body=body.model_dump(mode="json"))

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  the cluster keeps what there is to keep
        """Make the Job, and then what it owns. Raises DeployerError where the API server refuses it."""
        body = read_body(request)
        secrets_of(body)  # nothing is made without them
        made = self.api.create(body.job, body.namespace)
        handle = self._handle(request.name, made)
        try:
            for each in owned_by(str(_metadata(made)["uid"]), body):
                self.api.create(each, body.namespace)
        except BaseException:
            with suppress(DeployerError):  # why it could not be started goes first
                self.stop(handle, 0)
            raise
        return handle

    def state(self, handle: Handle) -> State:
        """As the cluster said it in the last `poll_s` seconds. Raises DeployerError for one that will never begin."""
        state = state_of(self._look(handle))
        if state.status is Status.RUNNING and self._options.reach == "port-forward":
            return self._tunnel.state(handle) or state
        return state

    def endpoint(self, handle: Handle) -> Endpoint | None:
        """The Service's address in the cluster, or this end of the port-forward; None before the server answers."""
        seen = self._look(handle)
        if not seen.answers or state_of(seen).status is not Status.RUNNING:
            return None
        if self._options.reach == "port-forward":
            return self._tunnel.endpoint(handle, {"{namespace}": _namespace(handle), "{pod}": seen.pod_name})
        address = self._addresses.get(handle.name) or self._find_address(handle)
        host = f"[{address}]" if ":" in address else address
        return Endpoint(url=f"http://{host}:{PORT}", model=str(handle.ref["model"])) if address else None

    def log(self, handle: Handle) -> str:
        """What the server wrote so far, as its node still has it; nothing after `stop`."""
        pods = self._pods(handle)
        most = self._options.max_log_mb * _MIB
        said = (self.api.log(_name(pod), CONTAINER, _namespace(handle), most) for pod in pods[-1:])
        return b"".join(said).decode(errors="replace")

    def stop(self, handle: Handle, grace_s: float) -> None:
        """SIGTERM to the pod, SIGKILL after the grace, and the Job is removed; the cluster removes what it owned."""
        namespace, grace = _namespace(handle), max(1, math.ceil(grace_s))  # 0 would mean: forget it, wherever it runs
        told: set[str] = set()

        def look() -> bool | None:
            pods, job = self._pods(handle), self.api.get("jobs", handle.name, namespace)
            for pod in (_name(each) for each in pods):
                if pod not in told:
                    self.api.delete("pods", pod, namespace, grace_s=grace)
                    told.add(pod)
            if job and not _metadata(job).get("deletionTimestamp"):
                self.api.delete("jobs", handle.name, namespace)
                return None
            return None if pods or job else True

        gone = poll(look, Deadline.after(grace_s + _END_S), 0.2)
        self._seen.forget(handle.name)
        self._addresses.pop(handle.name, None)
        self._tunnel.close(handle)
        if not gone:
            raise DeployerError(f"the pod of {handle.name} does not end, although it was deleted")

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        """Jobs whatever their state, and pods whose Job is gone."""
        selector = ",".join((NAME_LABEL, *(f"{OURS}{name}={value}" for name, value in labels.items())))
        namespace = self._options.namespace
        found = [each for kind in ("pods", "jobs") for each in self.api.list(kind, namespace, labels=selector)]
        names = {str(_labels(each)[NAME_LABEL]): each for each in found}
        return tuple(self._handle(name, each) for name, each in names.items())

    @cached_property
    def _tunnel(self) -> Tunnel:
        """Its command is a process of ours: what it forwards takes no time from the load client."""
        told = {"kubeconfig": self._options.kubeconfig, "context": self._options.context}
        options = [f"--{name}={value}" for name, value in told.items() if value]
        words = [sys.executable, "-m", _FORWARD, "{host}", "{port}", "{namespace}", "{pod}", str(PORT), *options]
        # A kubeconfig may name a program that needs anything to get a token; our own variables may hold a password.
        return Tunnel(words, [name for name in os.environ if not name.startswith("OPTUNA_TUNER_")])

    @property
    def api(self) -> Api:
        """The cluster's API server. Raises DeployerError where none is named."""
        with self._connecting:
            return self._api

    @cached_property
    def _api(self) -> Api:
        try:
            from optuna_tuner.deployers import kubernetes_api  # noqa: PLC0415  the client is an extra, and heavy
        except ImportError as error:
            raise DeployerError("the Kubernetes client is missing: pip install 'optuna-tuner[kubernetes]'") from error
        return kubernetes_api.Api(kubernetes_api.connect(self._options.kubeconfig, self._options.context))

    def _look(self, handle: Handle) -> Seen:
        return self._seen.get(handle.name, lambda: self._see(handle))

    def _see(self, handle: Handle) -> Seen:
        """The pod; its Job and what is told of either only where the pod does not tell all."""
        pods = self._pods(handle)
        if not pods:
            job = self.api.get("jobs", handle.name, _namespace(handle))
            return Seen(pod=None, job=job, events=self.api.events(handle.name, _namespace(handle)) if job else ())
        seen = Seen(pod=pods[-1])
        if seen.has_begun:
            return seen
        return Seen(pod=seen.pod, events=self.api.events(seen.pod_name, _namespace(handle)))

    def _pods(self, handle: Handle) -> Sequence[Facts]:
        return self.api.list("pods", _namespace(handle), labels=f"{NAME_LABEL}={handle.name}")

    def _find_address(self, handle: Handle) -> str:
        service = self.api.get("services", handle.name, _namespace(handle)) or {}
        spec = service.get("spec")
        self._addresses[handle.name] = str(spec.get("clusterIP") or "") if isinstance(spec, dict) else ""
        return self._addresses[handle.name]

    def _handle(self, name: str, found: Facts) -> Handle:
        metadata = _metadata(found)
        notes = metadata.get("annotations")
        model = str(notes.get(MODEL_NOTE, "")) if isinstance(notes, dict) else ""
        return Handle(deployer=self.kind, name=name, ref={"namespace": str(metadata["namespace"]), "model": model})


def found_cluster() -> str:
    """Which cluster a study that names none would use, in words. Raises DeployerError where there is none."""
    api = Kubernetes(KubernetesOptions()).api
    return f"{api.version()} at {api.server}"


def _metadata(found: Facts) -> Facts:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _labels(found: Facts) -> Facts:
    labels = _metadata(found).get("labels")
    return labels if isinstance(labels, dict) else {}


def _name(found: Facts) -> str:
    return str(_metadata(found)["name"])


def _namespace(handle: Handle) -> str:
    found = handle.ref.get("namespace")
    if not isinstance(found, str):
        raise DeployerError(f"{handle.name} is no handle of the deployer kubernetes")
    return found
