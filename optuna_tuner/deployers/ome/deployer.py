"""Servers as InferenceServices of OME, one a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.client_site import ClientSite, Program, Vantage
from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers.kubernetes_cluster import Cluster, Whole, metadata_of, namespace_of, notes_of, remark_of
from optuna_tuner.deployers.kubernetes_patch import OURS
from optuna_tuner.deployers.kubernetes_pod import Facts
from optuna_tuner.deployers.kubernetes_refusal import RefusedError
from optuna_tuner.deployers.kubernetes_request import MODEL_NOTE, NAME_LABEL
from optuna_tuner.deployers.kubernetes_rights import OME_RIGHTS
from optuna_tuner.deployers.load_client.clients import Clients, loaded, server_of
from optuna_tuner.deployers.load_client.request import SERVER_LABEL, Loaded
from optuna_tuner.deployers.ome.benchmark_jobs import BenchmarkJobs
from optuna_tuner.deployers.ome.ensure import ensure
from optuna_tuner.deployers.ome.misfits import misfits
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.deployers.ome.request import ENGINE, body_of, read_body
from optuna_tuner.deployers.ome.state import SeenService, state_of_service
from optuna_tuner.deployers.seldom import Seldom
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.values import Endpoint, Handle, Json, Launch, Request, Slot, State, Status

_SERVICES = "inferenceservices"
_POD_LABEL = "ome.io/inferenceservice"  # which OME gives to all pods of a service
AS_OME_DOES = (
    "measured by OME's BenchmarkJob: durations hold genai-bench's own polling, prompts repeat between levels and trials"
)
_END_S = 120.0  # after the grace, for the node and OME to say that nothing is left


class Ome(Deployer):
    """One InferenceService a server, with one pod. OME starts its container again when it ends: that is another server.

    It outlives a worker that is killed; then the next reaper, from any machine, finds it by its labels. The model and
    the runtime stay when a study is done.
    """

    kind: ClassVar[str] = "ome"
    summary: ClassVar[str] = "InferenceServices of the Open Model Engine (OME), one a server"
    Options: ClassVar[type[BaseModel]] = OmeOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = OmeOptions.model_validate(options.model_dump())
        self._seen: Seldom[SeenService] = Seldom(self._options.poll_s)
        self._first: dict[str, str] = {}  # by the server's name, the pod that began first
        self._ready: set[str] = set()
        self.cluster = Cluster(self._options)
        said = self._options.benchmark_job
        own = Clients(self.kind, self.cluster, self._options)
        self._clients = own if said is None else BenchmarkJobs(self.cluster, self._options, said)

    @property
    def gpus(self) -> int:
        """Those that the study or the runtime asks for."""
        return self._options.gpus_each

    @property
    def remark(self) -> str:
        """That a port-forward lies between load client and server, or nothing does."""
        return AS_OME_DOES if self._options.benchmark_job else remark_of(self._options)

    @property
    def lag_s(self) -> float:
        """A cluster takes a node for up until its grace period has passed."""
        return self._options.lost_after_s

    @property
    def hosts_clients(self) -> bool:
        """Where the study says `load_client` or `benchmark_job`."""
        return self._clients.there

    def client_site(self, handle: Handle) -> ClientSite | None:
        """Jobs or BenchmarkJobs, which go with the service."""
        return self._clients.site(lambda: self._loaded(handle))

    def planned_client(self, server: Request, program: Callable[[Vantage], Program], limit_s: float) -> Request | None:
        """The Job of a load client and what it reads, or the BenchmarkJob."""
        return self._clients.planned(read_body(server).service, program, limit_s)

    def misfits(self, study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """A runtime that does not serve the model, or holds another engine or version than the study's."""
        return misfits(study, self._options)

    def prepare(self, launch: Launch) -> None:
        """Ask for the rights, see that model and runtime are there, and ask whether such a service would be taken."""
        try:
            self._demand_rights(launch)
            self._demand_ome()
            ensure(self.cluster.api, self._options.clusterbasemodel_config, self._options.model_ready_s)
            ensure(self.cluster.api, self._options.clusterservingruntime_config, self._options.model_ready_s)
            service = body_of(launch, "optuna-tuner-test", {}, self._options).service
            self.cluster.api.create(service, self._options.namespace, only_test=True)
            self._clients.test()
        except DeployerError as error:
            raise EnvironmentFaultError(f"the cluster would not take the InferenceService: {error}") from error

    def _demand_rights(self, launch: Launch) -> None:
        needed = OME_RIGHTS[""] + OME_RIGHTS[self._options.reach] + (OME_RIGHTS["secrets"] if launch.secrets else ())
        needed += OME_RIGHTS[self._clients.right] if self.hosts_clients else ()
        missing = tuple(self.cluster.missing(needed))
        if missing:
            words = f"in the namespace {self._options.namespace} of {self.cluster.api.server} we may not"
            raise EnvironmentFaultError(
                f"{words}: {', '.join(missing)}; docs/how-to/deploy-with-ome.md has a Role that allows it"
            )

    def _demand_ome(self) -> None:
        """An API server that does not know a resource says so of its path alone."""
        try:
            self.cluster.api.list(_SERVICES, self._options.namespace)
        except RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise EnvironmentFaultError(f"OME is not installed on {self.cluster.api.server}: {error}") from error
            raise

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:  # noqa: ARG002  the cluster chooses the devices
        """The service and what belongs to it, as the API server takes them."""
        body = body_of(launch, name, labels, self._options)
        return Request(deployer=self.kind, name=name, body=body.model_dump(mode="json"))

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  the cluster keeps what there is to keep
        """Make the service, and then what it owns. Raises DeployerError where the API server or OME refuses it."""
        body = read_body(request)
        made = self.cluster.make(body.service, body, lambda service: self.stop(self._handle(request.name, service), 0))
        return self._handle(request.name, made)

    def state(self, handle: Handle) -> State:
        """As the cluster said it in the last `poll_s` seconds. Raises DeployerError for one that will never begin."""
        state = state_of_service(self._look(handle))
        if state.status is Status.RUNNING and self._options.reach == "port-forward":
            return self.cluster.forward_state(handle) or state
        return state

    def endpoint(self, handle: Handle) -> Endpoint | None:
        """The address of its Service, or this end of the port-forward; None before OME calls it ready."""
        seen = self._look(handle)
        if handle.name not in self._ready or state_of_service(seen).status is not Status.RUNNING:
            return None
        if self._options.reach == "port-forward":
            return self.cluster.forward(handle, seen.pod.pod_name, self._options.listens_at)
        address = self.cluster.address(f"{handle.name}{ENGINE}", namespace_of(handle))
        return Endpoint(url=f"http://{address}", model=str(handle.ref["model"])) if address else None

    def log(self, handle: Handle) -> str:
        """What the server wrote until its first end, as its node still has it; nothing after `stop`."""
        return self.cluster.log(handle, SeenService(pods=self._pods(handle), service=None).pod)

    def stop(self, handle: Handle, grace_s: float) -> None:
        """The service is deleted and with it all that OME made; its pods get SIGTERM, and SIGKILL after the grace."""
        self._clients.end(handle, grace_s)
        whole = Whole(
            resource=_SERVICES,
            name=handle.name,
            namespace=namespace_of(handle),
            pods=f"{_POD_LABEL}={handle.name}",
        )
        gone = self.cluster.end(handle, whole, grace_s, _END_S)
        self._seen.forget(handle.name)
        if not gone:
            raise DeployerError(
                f"{handle.name} does not end, although it was deleted: its node or OME's manager does not answer"
            )
        self._first.pop(handle.name, None)
        self._ready.discard(handle.name)

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        """Services whatever their state, and pods whose service is gone; a load client's are its server's."""
        selector = ",".join((NAME_LABEL, *(f"{OURS}{name}={value}" for name, value in labels.items())))
        kinds = self._clients.resources if self.hosts_clients else ()
        api, namespace = self.cluster.api, self._options.namespace
        clients = [each for kind in kinds for each in api.list(kind, namespace, labels=selector)]
        made = [each for each in (*self.cluster.living_pods(namespace, selector), *clients) if _is_of_ome(each)]
        named = {server_of(each): each for each in (*made, *api.list(_SERVICES, namespace, labels=selector))}
        return tuple(self._handle(name, each) for name, each in named.items())

    def _loaded(self, handle: Handle) -> Loaded:
        """Raises DeployerError for a server that is gone."""
        service = self.cluster.api.get(_SERVICES, handle.name, namespace_of(handle))
        return loaded(service, self._look(handle).pod.pod, self._options.listens_at)

    def _look(self, handle: Handle) -> SeenService:
        return self._seen.get(handle.name, lambda: self._see(handle))

    def _see(self, handle: Handle) -> SeenService:
        api, namespace, pods = self.cluster.api, namespace_of(handle), self._pods(handle)
        ready = handle.name in self._ready
        service = None if ready and pods else api.get(_SERVICES, handle.name, namespace)
        seen = SeenService(pods=pods, service=service, first=self._first.get(handle.name, ""))
        if seen.is_ready:
            self._ready.add(handle.name)
        if seen.pod.pod is not None and seen.pod.has_begun:
            self._first.setdefault(handle.name, seen.pod.pod_name)
            return seen
        events = api.events_around(handle.name, namespace)
        return SeenService(pods=pods, service=service, first=seen.first, events=events)

    def _pods(self, handle: Handle) -> Sequence[Facts]:
        return self.cluster.pods(namespace_of(handle), f"{_POD_LABEL}={handle.name}")

    def _handle(self, name: str, found: Facts) -> Handle:
        model = str(notes_of(found, "annotations").get(MODEL_NOTE, ""))
        ref: dict[str, Json] = {"namespace": str(metadata_of(found)["namespace"]), "model": model}
        return Handle(deployer=self.kind, name=name, ref=ref)


def _is_of_ome(found: Facts) -> bool:
    """Pods of the deployer `kubernetes` bear such labels too."""
    return bool({_POD_LABEL, SERVER_LABEL} & notes_of(found, "labels").keys())
