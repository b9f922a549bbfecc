"""The cluster that a study names: its API server, and the ways to its pods."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_pod import Facts, Seen, is_over
from optuna_tuner.deployers.kubernetes_request import NAME_LABEL, owned_by, secrets_of
from optuna_tuner.deployers.kubernetes_rights import Right
from optuna_tuner.deployers.tunnel import Tunnel
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Endpoint, Handle, Json, State

if TYPE_CHECKING:
    from optuna_tuner.deployers.kubernetes_api import Api

NEAR = "measured by a Job in the cluster, next to the server (deployer.load_client)"
FORWARDED = (
    "measured through a port-forward: latencies hold its way through the API server and the node; a worker in the "
    "cluster measures without it (deployer.reach: service)"
)
_FORWARD = "optuna_tuner.deployers.kubernetes_forward"
_MIB = 1 << 20
_LINGERING_S = 10.0  # for the object of a pod that is over, which as a rule goes in a second or two


class Body(Protocol):
    """What a request says beside the object itself."""

    @property
    def namespace(self) -> str:
        """Where all of it lies."""

    @property
    def owned(self) -> Sequence[Mapping[str, Json]]:
        """What goes when the object goes."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """For each variable, the one that holds its value here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """All that is there of one server: an object, and the pods that the cluster made for it."""

    resource: str
    name: str
    namespace: str
    pods: str  # the label by which its pods are found


class Cluster:
    """One cluster, for several threads. Every method may raise DeployerError."""

    def __init__(self, options: ClusterOptions) -> None:
        self._options = options
        self._connecting = Lock()
        self._addresses: dict[tuple[str, str], str] = {}
        self._first: dict[tuple[str, str], str] = {}  # the uid of the first pod of a Job

    @property
    def api(self) -> Api:
        """The API server. Raises DeployerError where none is named."""
        with self._connecting:
            return self._api

    @cached_property
    def _api(self) -> Api:
        try:
            from optuna_tuner.deployers import kubernetes_api  # noqa: PLC0415  the client is an extra, and heavy
        except ImportError as error:
            raise DeployerError("the Kubernetes client is missing: pip install 'optuna-tuner[kubernetes]'") from error
        return kubernetes_api.Api(kubernetes_api.connect(self._options.kubeconfig, self._options.context))

    def missing(self, needed: Sequence[Right], *, everywhere: bool = False) -> Iterator[str]:
        """Those of these rights that we have not, in the namespace or of what belongs to none, in words."""
        for verb, what in needed:
            if not self.api.may(verb, what, "" if everywhere else self._options.namespace):
                yield f"{verb} {what.strip('/')}"

    @cached_property
    def _tunnel(self) -> Tunnel:
        """Its command is a process of ours: what it forwards takes no time from the load client."""
        told = {"kubeconfig": self._options.kubeconfig, "context": self._options.context}
        options = [f"--{name}={value}" for name, value in told.items() if value]
        words = [sys.executable, "-m", _FORWARD, "{host}", "{port}", "{namespace}", "{pod}", "{pod_port}", *options]
        # A kubeconfig may name a program that needs anything to get a token; our own variables may hold a password.
        return Tunnel(words, [name for name in os.environ if not name.startswith("OPTUNA_TUNER_")])

    def make(self, thing: Facts, body: Body, undo: Callable[[Facts], None]) -> Facts:
        """Make an object, and then what it owns; nothing without all its secrets. What breaks off is undone."""
        secrets_of(body.secrets)
        made = self.api.create(thing, body.namespace)
        try:
            for each in owned_by(str(metadata_of(made)["uid"]), body.owned, body.secrets):
                self.api.create(each, body.namespace)
        except BaseException:
            with suppress(DeployerError):  # why it could not be started goes first
                undo(made)
            raise
        return made

    def forward(self, handle: Handle, pod: str, port: int) -> Endpoint | None:
        """The end of the port-forward to a pod that is here; it is opened where it is not."""
        place = {"{namespace}": namespace_of(handle), "{pod}": pod, "{pod_port}": str(port)}
        return self._tunnel.endpoint(handle, place)

    def forward_again(self, handle: Handle, pod: str, port: int) -> Endpoint | None:
        """The same, opened anew where it has ended."""
        if self._tunnel.state(handle) is not None:
            self._tunnel.close(handle)
        return self.forward(handle, pod, port)

    def forward_state(self, handle: Handle) -> State | None:
        """That the server is lost to us, where its port-forward has ended."""
        return self._tunnel.state(handle)

    def pods(self, namespace: str, label: str) -> Sequence[Facts]:
        """The pods that bear a label, the oldest first."""
        found = self.api.list("pods", namespace, labels=label)
        return sorted(found, key=lambda each: str(metadata_of(each).get("creationTimestamp")))

    def living_pods(self, namespace: str, label: str) -> Sequence[Facts]:
        """Those of them that still run or hold something, or may yet."""
        return [each for each in self.pods(namespace, label) if not is_over(each)]

    def job(self, name: str, namespace: str, container: str) -> Seen:
        """A Job's first pod; the Job and what is told of either only where the pod does not tell all.

        A pod that somebody deletes has a successor at once, which is another server.
        """
        pods = self.pods(namespace, f"{NAME_LABEL}={name}")
        if pods:
            self._first.setdefault((name, namespace), _uid(pods[0]))
        first = self._first.get((name, namespace))
        pod = next((each for each in pods if _uid(each) == first), None)
        if pod is None:
            job = self.api.get("jobs", name, namespace)
            events = self.api.events(name, namespace) if job else ()
            return Seen(pod=None, had_pod=first is not None, job=job, events=events, container=container)
        seen = Seen(pod=pod, container=container)
        if seen.has_begun:
            return seen
        return Seen(pod=seen.pod, events=self.api.events(seen.pod_name, namespace), container=container)

    def address(self, service: str, namespace: str) -> str:
        """Host and port of a Service, as its cluster reaches it; empty while it has none."""
        if not self._addresses.get((service, namespace)):
            spec = (self.api.get("services", service, namespace) or {}).get("spec")
            known = spec if isinstance(spec, dict) else {}
            host, ports = str(known.get("clusterIP") or ""), known.get("ports")
            port = ports[0] if isinstance(ports, list) and ports else None
            said = f"[{host}]" if ":" in host else host
            self._addresses[service, namespace] = f"{said}:{port['port']}" if host and isinstance(port, dict) else ""
        return self._addresses[service, namespace]

    def log(self, handle: Handle, seen: Seen) -> str:
        """What a server wrote when it first ran, as its node still has it; nothing where it has no pod."""
        if seen.pod is None:
            return ""
        most, place = self._options.max_log_mb * _MIB, namespace_of(handle)
        words = self.api.log(seen.pod_name, seen.container, place, most, previous=seen.runs_again)
        return words.decode(errors="replace")

    def end(self, handle: Handle, whole: Whole, grace_s: float, within_s: float) -> bool:
        """The object is removed, and the cluster ends its pods: SIGTERM at once, SIGKILL after the grace.

        The object first, since a pod that is taken from it would have a successor at once. The pods are left to the
        cluster where it can: a second word while a node ends one has been seen to keep it there for a minute. Whether
        nothing runs so many seconds after the grace; the object of a pod that is over may stay, and is soon left alone.
        """
        grace = max(1, math.ceil(grace_s))  # 0 would mean: forget it, wherever it runs
        patience, told, lingering = Deadline.after(grace), set[str](), Deadline.after(math.inf)

        def look() -> bool | None:
            nonlocal lingering
            left = self._delete(whole)
            pods = self.pods(whole.namespace, whole.pods)
            living = [each for each in pods if not is_over(each)]
            if pods and not (left or living):
                lingering = lingering.within(_LINGERING_S)
                return lingering.passed or None
            for pod in living:
                name, late = name_of(pod), patience.passed and name_of(pod) not in told
                if late:  # by its own grace it might have longer
                    told.add(name)
                if late or not (left or metadata_of(pod).get("deletionTimestamp")):
                    self.api.delete("pods", name, whole.namespace, grace_s=1 if late else grace)
            return None if left or living else True

        gone = poll(look, Deadline.after(grace_s + within_s), 0.2)
        self._first.pop((whole.name, whole.namespace), None)
        self._tunnel.close(handle)
        return gone is not None

    def _delete(self, whole: Whole) -> bool:
        """Whether it was still there."""
        found = self.api.get(whole.resource, whole.name, whole.namespace)
        if found and not metadata_of(found).get("deletionTimestamp"):
            self.api.delete(whole.resource, whole.name, whole.namespace)
        return found is not None


def found_cluster() -> str:
    """Which cluster a study that names none would use, in words. Raises DeployerError where there is none."""
    api = Cluster(ClusterOptions()).api
    return f"{api.version()} at {api.server}"


def remark_of(options: ClusterOptions) -> str:
    """What people must know of figures that are taken so."""
    if options.load_client is not None:
        return NEAR
    return FORWARDED if options.reach == "port-forward" else ""


def metadata_of(found: Facts) -> Mapping[str, Json]:
    """Name, labels and so on of an object."""
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _uid(found: Facts) -> str:
    return str(metadata_of(found).get("uid"))


def notes_of(found: Facts, kind: str) -> Mapping[str, Json]:
    """Its labels or its annotations."""
    notes = metadata_of(found).get(kind)
    return notes if isinstance(notes, dict) else {}


def name_of(found: Facts) -> str:
    """Of an object."""
    return str(metadata_of(found)["name"])


def namespace_of(handle: Handle) -> str:
    """Where a server of ours runs."""
    found = handle.ref.get("namespace")
    if not isinstance(found, str):
        raise DeployerError(f"{handle.name} is no handle of the deployer {handle.deployer}: it names no namespace")
    return found
