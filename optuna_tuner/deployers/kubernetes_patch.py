"""A strategic merge patch, applied here, so that what is printed is what will be sent.

Lists of a pod are merged by the keys that Kubernetes itself merges them by, all others are replaced, and null takes a
field away (https://kubernetes.io/docs/reference/kubernetes-api/, "patch strategy").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optuna_tuner.values import Json

CONTAINER = "server"
OURS = "optuna-tuner/"  # before the names of our labels and annotations
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_HOW = "$patch"
_ALL_NEW: Mapping[str, Json] = {_HOW: "replace"}
_POD = "spec.template.spec"
_OF_JOB = (
    *("backoffLimit", "parallelism", "completions", "completionMode", "suspend", "selector", "manualSelector"),
    *("managedBy", "podFailurePolicy", "podReplacementPolicy", "successPolicy"),
    *("activeDeadlineSeconds", "ttlSecondsAfterFinished"),
)
LABELLED: dict[str, Json] = {"labels": {"kept": "yes"}}
OF_ALL: Mapping[str, str] = {
    **dict.fromkeys(("apiVersion", "kind", "status"), ""),
    **dict.fromkeys((f"metadata.{each}" for each in ("name", "generateName", "ownerReferences", "finalizers")), ""),
    "metadata.namespace": "namespace",
    "metadata.labels.kept": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """An object with all that a server is found, ended and believed by.

    `stands_on` are its places, each with the option that says it, where there is one.
    """

    sample: Mapping[str, Json]
    stands_on: Mapping[str, str]


def guarded_job(container: str, said_by: Mapping[str, str]) -> Guarded:
    """A Job whose pod has a container of this name; `said_by` are the options that say some of its places."""
    ours = f"{_POD}.containers.{container}"
    places = (
        *(f"spec.{each}" for each in _OF_JOB),
        "spec.template.metadata.labels.kept",
        f"{_POD}.activeDeadlineSeconds",
        f"{_POD}.restartPolicy",
        *(f"{ours}.{each}" for each in ("name", "image", "command", "args", "ports", "startupProbe")),
    )
    return Guarded(
        sample=_sample(container), stands_on={**OF_ALL, **{place: said_by.get(place, "") for place in places}}
    )


def _sample(container: str) -> Mapping[str, Json]:
    pod: Json = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": container,
                "image": "image",
                "command": ["command"],
                "ports": [{"containerPort": 1}],
                "startupProbe": {"httpGet": {}},
            }
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "name", "namespace": "namespace", **LABELLED},
        "spec": {
            "backoffLimit": -1,
            "activeDeadlineSeconds": -1,
            "ttlSecondsAfterFinished": -1,
            "template": {"metadata": LABELLED, "spec": pod},
        },
    }


JOB = guarded_job(
    CONTAINER,
    {
        "spec.activeDeadlineSeconds": "max_life_s",
        "spec.ttlSecondsAfterFinished": "keep_s",
        f"{_POD}.activeDeadlineSeconds": "max_life_s",
    },
)


def merged(base: Mapping[str, Json], patch: Mapping[str, Json]) -> dict[str, Json]:
    """The base with the patch. Neither is changed."""
    result = dict(base)
    for name, change in patch.items():
        if name == _HOW:
            continue
        old = result.get(name)
        if change is None or (isinstance(change, dict) and change.get(_HOW) == "delete"):
            result.pop(name, None)
        elif isinstance(change, dict):
            kept = old if isinstance(old, dict) and change.get(_HOW) != "replace" else {}
            result[name] = merged(kept, change)
        elif isinstance(change, list) and name in _KEYS:
            result[name] = _merged_list(old if isinstance(old, list) else [], change, _KEYS[name])
        else:
            result[name] = change
    return result


def _merged_list(old: Sequence[Json], change: Sequence[Json], key: str) -> list[Json]:
    """By this key; a patch that has elements without it replaces the list."""
    named = [each for each in change if isinstance(each, dict) and (key in each or each == _ALL_NEW)]
    if len(named) < len(change):
        return list(change)
    result = {} if _ALL_NEW in named else {_name(each, key): each for each in old}
    for each in (each for each in named if each != _ALL_NEW):
        name = _name(each, key)
        before = result.pop(name, None) if each.get(_HOW) in {"delete", "replace"} else result.get(name)
        if each.get(_HOW) != "delete":
            keeps = isinstance(before, dict) and each.get(_HOW) != "replace"
            result[name] = merged(before if keeps and isinstance(before, dict) else {}, each)
    return list(result.values())


def _name(element: Json, key: str) -> str:
    return json.dumps(element.get(key) if isinstance(element, dict) else element)


def patch_problem(patch: Mapping[str, Json], guarded: Guarded = JOB) -> str | None:
    """Why this patch may not be applied to an object of ours; None for a good one."""
    for name, value in _fields(dict(patch)):
        if name.startswith("$") and (name, value) not in {(_HOW, "delete"), (_HOW, "replace")}:
            said = ": ".join(filter(None, (name, str(value))))
            return f"{said} is not known here: only $patch: delete and $patch: replace are"
        if name.startswith(OURS):
            return f"{name} is the tuner's own"
    patched = merged(guarded.sample, patch)
    for place, option in guarded.stands_on.items():
        if _at(patched, place) != _at(dict(guarded.sample), place):
            return f"{place} may not be patched: " + (f"deployer.{option} says it" if option else "the tuner needs it")
    return None


def _fields(value: Json) -> Iterator[tuple[str, Json]]:
    for name, each in value.items() if isinstance(value, dict) else ():
        yield name, each if not isinstance(each, (dict, list)) else ""
        yield from _fields(each)
    for each in value if isinstance(value, list) else ():
        yield from _fields(each)


def _at(value: Json, place: str) -> Json:
    """What stands at a path; an element of a list is found by its name."""
    for part in place.split("."):
        if isinstance(value, list):
            value = next((each for each in value if isinstance(each, dict) and each.get("name") == part), None)
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value
