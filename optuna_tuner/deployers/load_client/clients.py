"""The load clients of one deployer's servers: planned, tested, sited, and ended with their server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from optuna_tuner.client_site import ClientSite, Program, Vantage
from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_cluster import Cluster, Whole, metadata_of, name_of, namespace_of, notes_of
from optuna_tuner.deployers.kubernetes_patch import OURS
from optuna_tuner.deployers.kubernetes_pod import Facts
from optuna_tuner.deployers.kubernetes_request import MODEL_NOTE, NAME_LABEL
from optuna_tuner.deployers.load_client.request import PLANNED, SERVER_LABEL, Loaded, body_of
from optuna_tuner.deployers.load_client.site import Site
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Handle, Json, Request

_END_S = 60.0
_TEST = Program(argv=("true",))
_RUN = "client-1"


class Clients:
    """Nothing, where the study says no `load_client`. Every method may raise DeployerError.

    `resources` are those of which a client is made, beside pods; `right` is what making them needs.
    """

    resources: ClassVar[tuple[str, ...]] = ("jobs",)
    right: ClassVar[str] = "load client"

    def __init__(self, kind: str, cluster: Cluster, options: ClusterOptions) -> None:
        self._kind, self._cluster, self._options = kind, cluster, options

    @property
    def there(self) -> bool:
        """Whether load clients run in the cluster."""
        return self._options.load_client is not None

    def _pods_of(self, resource: str, name: str) -> str:
        del resource
        return f"{NAME_LABEL}={name}"

    def site(self, find: Callable[[], Loaded]) -> ClientSite | None:
        """Where clients of a server run; `find` asks the cluster for the server."""
        return Site(self._cluster, self._options, self._kind, find) if self._options.load_client else None

    def planned(self, server: Facts, program: Callable[[Vantage], Program], limit_s: float) -> Request | None:
        """What would be sent for a client of this server, whose address nobody knows yet."""
        if self._options.load_client is None:
            return None
        known = loaded(server)
        body = body_of(program(PLANNED), _RUN, known, self._options, limit_s)
        return Request(deployer=self._kind, name=f"{known.name}-{_RUN}", body=body.model_dump(mode="json"))

    def test(self) -> None:
        """Ask whether the cluster would take such a Job; makes nothing."""
        if self._options.load_client is None:
            return
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "optuna-tuner-test", "uid": "none"}
        server = Loaded(name="optuna-tuner-test", labels={}, owner=owner)
        self._cluster.api.create(
            body_of(_TEST, _RUN, server, self._options, 0).job, self._options.namespace, only_test=True
        )

    def end(self, server: Handle, grace_s: float) -> None:
        """Make sure that nobody loads the server any more, whoever began it."""
        if not self.there:
            return
        namespace, label = namespace_of(server), f"{SERVER_LABEL}={server.name}"
        found = {
            (kind.replace("pods", "jobs"), str(notes_of(each, "labels")[NAME_LABEL]))
            for kind in (*self.resources, "pods")
            for each in self._cluster.api.list(kind, namespace, labels=label)
        }
        for resource, name in sorted(found):
            client = Handle(deployer=self._kind, name=name, ref=server.ref)
            whole = Whole(resource=resource, name=name, namespace=namespace, pods=self._pods_of(resource, name))
            if not self._cluster.end(client, whole, grace_s, _END_S):
                raise DeployerError(f"the pod of the load client {name} does not end, although it was deleted")


def loaded(server: Facts | None, pod: Facts | None = None, port: int = 0) -> Loaded:
    """A server as its clients know it; its address is that of its pod. Raises DeployerError where there is none."""
    if server is None:
        raise DeployerError("the server is gone, and cannot be loaded")
    about = {name: server.get(name) for name in ("apiVersion", "kind")}
    uid = metadata_of(server).get("uid")
    owner = {**about, "name": name_of(server), **({"uid": uid} if uid else {})}
    labels = {name: str(value) for name, value in notes_of(server, "labels").items()}
    return Loaded(
        name=name_of(server),
        labels={name.removeprefix(OURS): value for name, value in labels.items() if _is_shared(name)},
        owner=owner,
        model=str(notes_of(server, "annotations").get(MODEL_NOTE, "")),
        url=_url(pod, port) if pod is not None else PLANNED.url,
    )


def _is_shared(label: str) -> bool:
    return label.startswith(OURS) and label != NAME_LABEL


def _url(pod: Facts, port: int) -> str:
    status = pod.get("status")
    address = status.get("podIP") if isinstance(status, dict) else None
    if not isinstance(address, str) or not address:
        raise DeployerError(f"the pod {name_of(pod)} has no address")
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def server_of(found: Facts) -> str:
    """The name of the server that an object of ours is, or belongs to."""
    labels: Mapping[str, Json] = notes_of(found, "labels")
    return str(labels.get(SERVER_LABEL) or labels[NAME_LABEL])
