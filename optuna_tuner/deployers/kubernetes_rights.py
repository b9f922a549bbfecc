"""What we must be allowed to do: verb, and GROUP/RESOURCE/SUBRESOURCE."""

from __future__ import annotations

from collections.abc import Mapping

Right = tuple[str, str]

_OF_PODS: tuple[Right, ...] = (
    *((verb, "/pods/") for verb in ("list", "delete")),
    ("get", "/pods/log"),
    ("list", "/events/"),
)
_MORE: Mapping[str, tuple[Right, ...]] = {
    "port-forward": (("get", "/pods/portforward"), ("create", "/pods/portforward")),
    "secrets": (("create", "/secrets/"),),
}
_OF_JOBS: tuple[Right, ...] = tuple((verb, "batch/jobs/") for verb in ("create", "get", "list", "delete"))
_FILES: Right = ("create", "/configmaps/")
# In the namespace, by what a study does there: "" is always needed.
RIGHTS: Mapping[str, tuple[Right, ...]] = {
    "": (*_OF_JOBS, *_OF_PODS),
    "service": (("create", "/services/"), ("get", "/services/")),
    **_MORE,
    "load client": (_FILES,),
}
OME_RIGHTS: Mapping[str, tuple[Right, ...]] = {
    "": (*((verb, "ome.io/inferenceservices/") for verb in ("create", "get", "list", "delete")), *_OF_PODS),
    "service": (("get", "/services/"),),
    **_MORE,
    "load client": (*_OF_JOBS, _FILES),
    "benchmark job": (
        *((verb, "ome.io/benchmarkjobs/") for verb in ("create", "get", "list", "delete")),
        *_OF_JOBS,
        _FILES,
    ),
}
# Of the whole cluster: only where a study makes what is not there yet, and for `optuna-tuner ome list` and `delete`.
OME_SHARED: tuple[Right, ...] = tuple(
    (verb, f"ome.io/{resource}/")
    for resource in ("clusterbasemodels", "clusterservingruntimes")
    for verb in ("get", "list", "create", "delete")
)
