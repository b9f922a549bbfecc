"""The objects of a fake cluster, and how an API server keeps them: names, versions, owners, refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import cast
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from optuna_tuner.values import Json

Object = dict[str, Json]
Key = tuple[str, str, str]  # resource, namespace, name
OME = ("inferenceservices", "benchmarkjobs", "clusterbasemodels", "clusterservingruntimes")
GROUPS = {"jobs": "batch", **dict.fromkeys(OME, "ome.io")}  # all others are of the core
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class RefusalError(Exception):
    """What the API server answers instead."""

    def __init__(self, code: int, reason: str, message: str, causes: Sequence[Json] = ()) -> None:
        super().__init__(message)
        details: Json = {"causes": list(causes)} if causes else {}
        self.code = code
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
            "details": details,
        }


@dataclass(slots=True)
class Objects:
    """All that the cluster knows."""

    namespaces: set[str] = field(default_factory=lambda: {"default"})
    held: dict[Key, Object] = field(default_factory=dict)
    _versions: count[int] = field(default_factory=lambda: count(1))

    def create(self, resource: str, namespace: str, thing: Object, *, dry: bool = False) -> Object:
        """Take it, as the API server does: a name once, in a namespace that is there, and nothing unknown in it."""
        metadata = part(thing, "metadata")
        name = str(metadata.get("name"))
        if namespace and namespace not in self.namespaces:
            raise RefusalError(404, "NotFound", f'namespaces "{namespace}" not found')
        if not _NAME.fullmatch(name):
            why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
            cause: Json = {"reason": "FieldValueInvalid", "message": why, "field": "metadata.name"}
            raise RefusalError(422, "Invalid", f'{full(resource)} "{name}" is invalid: metadata.name: {why}', [cause])
        if (resource, namespace, name) in self.held:
            gone = (
                "object is being deleted: "
                if "deletionTimestamp" in metadata_of(self, resource, namespace, name)
                else ""
            )
            raise RefusalError(409, "AlreadyExists", f'{gone}{full(resource)} "{name}" already exists')
        place: Object = {"namespace": namespace} if namespace else {}
        made: Object = {**thing, "metadata": {**metadata, **place, "uid": str(uuid4()), "generation": 1}}
        part(made, "metadata")["creationTimestamp"] = now()
        if not dry:
            self.held[resource, namespace, name] = made
            self.touch(made)
        return made

    def touch(self, thing: Object) -> None:
        """Say that it changed."""
        part(thing, "metadata")["resourceVersion"] = str(next(self._versions))

    def get(self, resource: str, namespace: str, name: str) -> Object:
        """One object. Raises RefusalError where there is none."""
        found = self.held.get((resource, namespace, name))
        if found is None:
            raise RefusalError(404, "NotFound", f'{full(resource)} "{name}" not found')
        return found

    def list(self, resource: str, namespace: str, labels: str = "", fields: str = "") -> Sequence[Object]:
        """Those of a namespace that bear these labels, and whose fields say this."""
        mine = [thing for (kind, place, _), thing in self.held.items() if (kind, place) == (resource, namespace)]
        return [thing for thing in mine if _bears(thing, labels) and _says(thing, fields)]

    def remove(self, resource: str, namespace: str, name: str) -> None:
        """Let it go, and with it all that it owns; pods are only told to."""
        gone = self.held.pop((resource, namespace, name), None)
        uid = part(gone, "metadata")["uid"] if gone else ""
        for (kind, place, each), thing in list(self.held.items()):
            owners = cast("list[Object]", part(thing, "metadata").get("ownerReferences") or [])
            if any(owner["uid"] == uid for owner in owners):
                if kind == "pods":
                    mark_deleted(thing, 30)
                else:
                    self.remove(kind, place, each)

    def tell(self, thing: Object, reason: str, message: str) -> None:
        """An Event of an object, once for each message."""
        metadata = part(thing, "metadata")
        namespace, name = str(metadata["namespace"]), str(metadata["name"])
        about: Json = {"name": name, "namespace": namespace, "uid": metadata["uid"]}
        known = [each for each in self.list("events", namespace) if each["message"] == message]
        if not any(part(each, "involvedObject") == about for each in known):
            told: Object = {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": now()}
            self.create("events", namespace, {"metadata": {"name": f"event-{uuid4().hex}"}, **told})


def check(model: type[BaseModel], thing: Object, resource: str, *, strict: bool) -> None:
    """Hold it against the official client's own model. Raises RefusalError as the API server does."""
    try:
        model.model_validate(thing)
    except ValidationError as error:
        faults = error.errors()
    else:
        return
    places = [".".join(f"[{word}]" if isinstance(word, int) else str(word) for word in each["loc"]) for each in faults]
    unknown = [
        f'unknown field "{place}"' for place, each in zip(places, faults, strict=True) if "extra" in each["type"]
    ]
    if unknown and strict:
        raise RefusalError(400, "BadRequest", f"strict decoding error: {', '.join(unknown)}")
    wrong = [(place, each["msg"]) for place, each in zip(places, faults, strict=True) if "extra" not in each["type"]]
    if wrong:
        causes: list[Json] = [{"reason": "FieldValueInvalid", "message": why, "field": at} for at, why in wrong]
        said = ", ".join(f"{at}: {why}" for at, why in wrong)
        name = part(thing, "metadata").get("name")
        raise RefusalError(422, "Invalid", f'{full(resource)} "{name}" is invalid: {said}', causes)


def part(thing: Mapping[str, Json], name: str) -> Object:
    """A part of an object that has names; it is made where there is none, and may be changed."""
    found = thing.get(name)
    if not isinstance(found, dict):
        found = {}
        cast("Object", thing)[name] = found
    return found


def parts(thing: Mapping[str, Json], name: str) -> list[Object]:
    """A part of an object that is a list of objects."""
    return cast("list[Object]", thing.get(name) or [])


def metadata_of(objects: Objects, resource: str, namespace: str, name: str) -> Object:
    """What an object that is there is called, and so on."""
    return part(objects.held[resource, namespace, name], "metadata")


def mark_deleted(thing: Object, grace_s: int) -> None:
    """Tell a pod to end. A second word can only make it shorter."""
    metadata = part(thing, "metadata")
    known = metadata.get("deletionGracePeriodSeconds")
    if not isinstance(known, int) or grace_s < known:
        metadata |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace_s}


def full(resource: str) -> str:
    """A resource as messages name it."""
    return f"{resource}.{GROUPS[resource]}" if resource in GROUPS else resource


def now() -> str:
    """The moment, as the API server writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _bears(thing: Object, selector: str) -> bool:
    labels = part(part(thing, "metadata"), "labels")
    for each in filter(None, selector.split(",")):
        name, equals, value = each.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def _says(thing: Object, selector: str) -> bool:
    for each in filter(None, selector.split(",")):
        path, _, value = each.partition("=")
        found: Json = thing
        for word in path.split("."):
            found = found.get(word) if isinstance(found, dict) else None
        if found != value:
            return False
    return True
