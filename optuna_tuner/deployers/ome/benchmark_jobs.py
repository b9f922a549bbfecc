"""BenchmarkJobs in the place of load clients of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from optuna_tuner.client_site import ClientSite, Program, Vantage
from optuna_tuner.deployers.kubernetes_cluster import Cluster
from optuna_tuner.deployers.kubernetes_pod import Facts
from optuna_tuner.deployers.load_client.clients import Clients, loaded
from optuna_tuner.deployers.load_client.request import PLANNED, Loaded
from optuna_tuner.deployers.ome.benchmark_options import BenchmarkJobOptions
from optuna_tuner.deployers.ome.benchmark_request import POD_LABEL, RESOURCE, job_of
from optuna_tuner.deployers.ome.benchmark_site import BenchmarkJobSite
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.values import Request

_RUN = "client-1"


class BenchmarkJobs(Clients):
    """Of a study that says `benchmark_job`."""

    resources: ClassVar[tuple[str, ...]] = (RESOURCE, "jobs")
    right: ClassVar[str] = "benchmark job"

    def __init__(self, cluster: Cluster, options: OmeOptions, said: BenchmarkJobOptions) -> None:
        super().__init__("ome", cluster, options.model_copy(update={"load_client": said.reader}))
        self._ome, self._said = options, said

    def site(self, find: Callable[[], Loaded]) -> ClientSite | None:
        """OME runs genai-bench; another pod reads its report."""
        return BenchmarkJobSite(self._cluster, self._ome, self._said, find)

    def planned(self, server: Facts, program: Callable[[Vantage], Program], limit_s: float) -> Request | None:
        """The BenchmarkJob; it has no deadline: whoever waits for it has one."""
        del limit_s
        known = loaded(server)
        job = job_of(program(PLANNED), _RUN, known, self._ome)
        return Request(deployer="ome", name=f"{known.name}-{_RUN}", body={"benchmark_job": job})

    def test(self) -> None:
        """Whether there are BenchmarkJobs, and whether the cluster would take the pod that reads a report."""
        self._cluster.api.list(RESOURCE, self._ome.namespace)
        super().test()

    def _pods_of(self, resource: str, name: str) -> str:
        return f"{POD_LABEL}={name}" if resource == RESOURCE else super()._pods_of(resource, name)
