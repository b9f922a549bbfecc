"""Servers as Jobs of a Kubernetes cluster, without any operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.client_site import ClientSite, Program, Vantage
from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers.kubernetes_cluster import (
    Cluster,
    Whole,
    metadata_of,
    namespace_of,
    notes_of,
    remark_of,
)
from optuna_tuner.deployers.kubernetes_misfits import misfits
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.deployers.kubernetes_patch import CONTAINER, OURS
from optuna_tuner.deployers.kubernetes_pod import Facts, Seen, state_of
from optuna_tuner.deployers.kubernetes_request import (
    MODEL_NOTE,
    NAME_LABEL,
    PORT,
    body_of,
    read_body,
)
from optuna_tuner.deployers.kubernetes_rights import RIGHTS
from optuna_tuner.deployers.load_client.clients import Clients, loaded, server_of
from optuna_tuner.deployers.load_client.request import Loaded
from optuna_tuner.deployers.seldom import Seldom
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.values import Endpoint, Handle, Json, Launch, Request, Slot, State, Status

_END_S = 60.0  # after the grace, for the node to say that nothing of a pod is left


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
        self.cluster = Cluster(self._options)
        self._clients = Clients(self.kind, self.cluster, self._options)

    @property
    def gpus(self) -> int:
        """Those that the study asks for."""
        return self._options.gpus

    @property
    def remark(self) -> str:
        """That a port-forward lies between load client and server, or nothing does."""
        return remark_of(self._options)

    @property
    def lag_s(self) -> float:
        """A cluster takes a node for up until its grace period has passed."""
        return self._options.lost_after_s

    @property
    def hosts_clients(self) -> bool:
        """Where the study says `load_client`."""
        return self._options.load_client is not None

    def client_site(self, handle: Handle) -> ClientSite | None:
        """Jobs of their own, which go with the server's."""
        return self._clients.site(lambda: self._loaded(handle))

    def planned_client(self, server: Request, program: Callable[[Vantage], Program], limit_s: float) -> Request | None:
        """The Job of a load client and what it reads."""
        return self._clients.planned(read_body(server).job, program, limit_s)

    def misfits(self, study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """No image, or none that can be; a model's path that is none; a trial that is longer than its Job."""
        return misfits(study, self._options)

    def prepare(self, launch: Launch) -> None:
        """Ask for the rights that are needed, and whether such a Job would be taken; makes nothing."""
        try:
            api, namespace = self.cluster.api, self._options.namespace
            needed = RIGHTS[""] + RIGHTS[self._options.reach] + (RIGHTS["secrets"] if launch.secrets else ())
            needed += RIGHTS["load client"] if self.hosts_clients else ()
            missing = tuple(self.cluster.missing(needed))
            if missing:
                words = f"in the namespace {namespace} of {api.server} we may not: {', '.join(missing)}"
                raise EnvironmentFaultError(f"{words}; docs/how-to/deploy-with-kubernetes.md has a Role that allows it")
            api.create(body_of(launch, "optuna-tuner-test", {}, self._options).job, namespace, only_test=True)
            self._clients.test()
        except DeployerError as error:
            raise EnvironmentFaultError(f"the cluster would not take the Job: {error}") from error

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:  # noqa: ARG002  the cluster chooses the devices
        """The Job and what belongs to it, as the API server takes them."""
        body = body_of(launch, name, labels, self._options)
        return Request(deployer=self.kind, name=name, body=body.model_dump(mode="json"))

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  the cluster keeps what there is to keep
        """Make the Job, and then what it owns. Raises DeployerError where the API server refuses it."""
        body = read_body(request)
        made = self.cluster.make(body.job, body, lambda job: self.stop(self._handle(request.name, job), 0))
        return self._handle(request.name, made)

    def state(self, handle: Handle) -> State:
        """As the cluster said it in the last `poll_s` seconds. Raises DeployerError for one that will never begin."""
        state = state_of(self._look(handle))
        if state.status is Status.RUNNING and self._options.reach == "port-forward":
            return self.cluster.forward_state(handle) or state
        return state

    def endpoint(self, handle: Handle) -> Endpoint | None:
        """The Service's address in the cluster, or this end of the port-forward; None before the server answers."""
        seen = self._look(handle)
        if not seen.answers or state_of(seen).status is not Status.RUNNING:
            return None
        if self._options.reach == "port-forward":
            return self.cluster.forward(handle, seen.pod_name, PORT)
        address = self.cluster.address(handle.name, namespace_of(handle))
        return Endpoint(url=f"http://{address}", model=str(handle.ref["model"])) if address else None

    def log(self, handle: Handle) -> str:
        """What the server wrote so far, as its node still has it; nothing after `stop`."""
        return self.cluster.log(handle, Seen(pod=next(iter(self._pods(handle)), None)))

    def stop(self, handle: Handle, grace_s: float) -> None:
        """SIGTERM to the pod, SIGKILL after the grace, and the Job is removed; the cluster removes what it owned."""
        self._clients.end(handle, grace_s)
        whole = Whole(
            resource="jobs", name=handle.name, namespace=namespace_of(handle), pods=f"{NAME_LABEL}={handle.name}"
        )
        gone = self.cluster.end(handle, whole, grace_s, _END_S)
        self._seen.forget(handle.name)
        if not gone:
            raise DeployerError(f"the pod of {handle.name} does not end, although it was deleted")

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        """Jobs whatever their state, and pods whose Job is gone; a load client's are its server's."""
        selector = ",".join((NAME_LABEL, *(f"{OURS}{name}={value}" for name, value in labels.items())))
        namespace = self._options.namespace
        jobs = self.cluster.api.list("jobs", namespace, labels=selector)
        found = [*self.cluster.living_pods(namespace, selector), *jobs]
        return tuple(self._handle(name, each) for name, each in {server_of(each): each for each in found}.items())

    def _loaded(self, handle: Handle) -> Loaded:
        """Raises DeployerError for a server that is gone."""
        job = self.cluster.api.get("jobs", handle.name, namespace_of(handle))
        return loaded(job, next(iter(self._pods(handle)), None), PORT)

    def _look(self, handle: Handle) -> Seen:
        return self._seen.get(handle.name, lambda: self._see(handle))

    def _see(self, handle: Handle) -> Seen:
        return self.cluster.job(handle.name, namespace_of(handle), CONTAINER)

    def _pods(self, handle: Handle) -> Sequence[Facts]:
        return self.cluster.pods(namespace_of(handle), f"{NAME_LABEL}={handle.name}")

    def _handle(self, name: str, found: Facts) -> Handle:
        model = str(notes_of(found, "annotations").get(MODEL_NOTE, ""))
        return Handle(
            deployer=self.kind, name=name, ref={"namespace": str(metadata_of(found)["namespace"]), "model": model}
        )
