"""What is missing on a cluster for the deployers `kubernetes` and `ome`, right by right. Makes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_cluster import Cluster
from optuna_tuner.deployers.kubernetes_rights import OME_RIGHTS, OME_SHARED, RIGHTS, Right
from optuna_tuner.doctor import Check
from optuna_tuner.errors import DeployerError

OfCluster = Literal["kubernetes", "ome"]
_FOR = {"": "rights", "port-forward": "rights: reach port-forward", "service": "rights: reach service"}
_SHARED = "rights: models and runtimes"


def cluster_checks(deployer: OfCluster, options: ClusterOptions) -> tuple[Check, ...]:
    """Whether the cluster answers, has what the deployer needs, and lets us do what a study there does."""
    how = f"docs/how-to/deploy-with-{deployer}.md has the manifests of its Role"
    cluster = Cluster(options)
    try:
        found = f"{cluster.api.version()} at {cluster.api.server}"
        rest = tuple(_of_cluster(cluster, deployer, options.namespace, how))
    except DeployerError as error:
        where = "let --kubeconfig or KUBECONFIG name a cluster that answers"
        return (Check(name="cluster", ok=False, found=str(error), how_to_get=where, needed=True),)
    return (Check(name="cluster", ok=True, found=found, needed=True), *rest)


def _of_cluster(cluster: Cluster, deployer: OfCluster, namespace: str, how: str) -> Iterator[Check]:
    rights: Mapping[str, tuple[Right, ...]] = RIGHTS if deployer == "kubernetes" else OME_RIGHTS
    if deployer == "ome":
        yield _installed(cluster, namespace)
    for use, needed in rights.items():
        name = _FOR.get(use, f"rights: {use}")
        yield _rights(name, tuple(cluster.missing(needed)), f"{how} in {namespace}", needed=not use)
    if deployer == "ome":
        missing = tuple(cluster.missing(OME_SHARED, everywhere=True))
        yield _rights(_SHARED, missing, f"{how}, or use what is there", needed=False)


def _installed(cluster: Cluster, namespace: str) -> Check:
    try:
        cluster.api.list("inferenceservices", namespace)
    except DeployerError as error:
        how = "install OME: https://github.com/sgl-project/ome"
        return Check(name="OME", ok=False, found=str(error), how_to_get=how, needed=True)
    return Check(name="OME", ok=True, found="it knows InferenceServices", needed=True)


def _rights(name: str, missing: tuple[str, ...], how: str, *, needed: bool) -> Check:
    found = f"we may not: {', '.join(missing)}" if missing else "all of them"
    return Check(name=name, ok=not missing, found=found, how_to_get=how, needed=needed)
