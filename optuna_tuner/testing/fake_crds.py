"""How an API server holds custom objects against their definitions: unknown fields, types, lists, defaults."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from optuna_tuner.testing.fake_objects import Object, RefusalError, full, part
from optuna_tuner.values import Json

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_NAMED: Object = {**_OPEN, "required": ["name"]}
# Without OME's own definitions: what its objects cannot do without.
_SMALL: Mapping[str, Object] = {
    "clusterbasemodels": {
        **_OPEN,
        "required": ["storage"],
        "properties": {"storage": {**_OPEN, "required": ["storageUri"]}},
    },
    "clusterservingruntimes": {
        **_OPEN,
        "properties": {"engineConfig": {**_OPEN, "properties": {"runner": _NAMED}}},
    },
    "benchmarkjobs": {
        **_OPEN,
        "required": ["endpoint", "task", "maxTimePerIteration", "maxRequestsPerIteration", "outputLocation"],
        "properties": {},
    },
    "inferenceservices": {**_OPEN, "properties": {"model": _NAMED, "runtime": _NAMED, "engine": _OPEN}},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a place."""

    reason: str  # as the API server names it; empty for a field that is not known
    message: str
    place: str


@dataclass(slots=True)
class Definitions:
    """The definitions of OME's resources: its own from a folder of `ome.io_RESOURCE.json.gz`, or a small stand-in."""

    folder: Path | None = None
    _read: dict[str, Object] = field(default_factory=dict)

    def admitted(self, resource: str, thing: Object, *, strict: bool) -> Object:
        """The object as it is stored: with defaults, without what is not known. Raises RefusalError."""
        schema, kept = self._schema(resource), deepcopy(thing)
        faults = list(_faults(schema, kept, "spec"))
        unknown = [f'unknown field "{each.place}"' for each in faults if not each.reason]
        if unknown and strict:
            raise RefusalError(400, "BadRequest", f"strict decoding error: {', '.join(unknown)}")
        wrong = [each for each in faults if each.reason]
        if wrong:
            causes: list[Json] = [
                {"reason": each.reason, "message": each.message, "field": each.place} for each in wrong
            ]
            said = ", ".join(f"{each.place}: {each.message}" for each in wrong)
            name = part(thing, "metadata").get("name")
            raise RefusalError(422, "Invalid", f'{full(resource)} "{name}" is invalid: {said}', causes)
        return kept

    def _schema(self, resource: str) -> Object:
        if self.folder is None:
            return {"type": "object", "properties": {"spec": _SMALL[resource]}}
        if resource not in self._read:
            text = gzip.decompress((self.folder / f"ome.io_{resource}.json.gz").read_bytes())
            version = json.loads(text)["spec"]["versions"][0]
            self._read[resource] = version["schema"]["openAPIV3Schema"]
        return self._read[resource]


def _faults(schema: Object, holder: Object, name: str, place: str = "") -> Iterator[Fault]:
    """Of what a holder has under a name; what has a default gets it."""
    known = cast("Object", cast("Object", schema["properties"])[name])
    if name in holder:
        yield from _of_value(known, holder[name], f"{place}.{name}".lstrip("."))


def _of_value(schema: Object, value: Json, place: str) -> Iterator[Fault]:
    kind = str(schema.get("type", ""))
    if schema.get("x-kubernetes-int-or-string"):
        fits: tuple[type, ...] = (int, str)
    else:
        fits = _TYPES.get(kind, (object,))
    if not isinstance(value, fits) or (isinstance(value, bool) and bool not in fits and object not in fits):
        said = type(value).__name__
        yield Fault("FieldValueTypeInvalid", f'Invalid value: "{said}": must be of type {kind}: "{said}"', place)
    elif isinstance(value, dict):
        yield from _of_mapping(schema, value, place)
    elif isinstance(value, list):
        yield from _of_list(schema, value, place)
    else:
        yield from _of_scalar(schema, value, place)


def _of_mapping(schema: Object, value: Object, place: str) -> Iterator[Fault]:
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    for name in cast("list[str]", schema.get("required") or []):
        if name not in value:
            yield Fault("FieldValueRequired", "Required value", f"{place}.{name}")
    for name in [each for each in value if value[each] is None]:
        del value[name]
    for name in list(value):
        if name in known:
            yield from _faults(schema, value, name, place)
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from _of_value(cast("Object", schema["additionalProperties"]), value[name], f"{place}.{name}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            del value[name]
            yield Fault("", "", f"{place}.{name}")
    for name, each in known.items():
        if isinstance(each, dict) and "default" in each and name not in value:
            value[name] = deepcopy(each["default"])


def _of_list(schema: Object, value: list[Json], place: str) -> Iterator[Fault]:
    items = cast("Object", schema.get("items") or {})
    for number, each in enumerate(value):
        yield from _of_value(items, each, f"{place}[{number}]")
    if schema.get("x-kubernetes-list-type") == "set" and len({json.dumps(each) for each in value}) < len(value):
        yield Fault("FieldValueDuplicate", "Duplicate value", place)


def _of_scalar(schema: Object, value: Json, place: str) -> Iterator[Fault]:
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        wanted = ", ".join(json.dumps(each) for each in choices)
        yield Fault(
            "FieldValueNotSupported", f"Unsupported value: {json.dumps(value)}: supported values: {wanted}", place
        )
    if isinstance(value, str) and "pattern" in schema and not re.search(str(schema["pattern"]), value):
        yield Fault("FieldValueInvalid", f"Invalid value: \"{value}\": should match '{schema['pattern']}'", place)
    least = schema.get("minimum")
    if isinstance(value, int) and isinstance(least, int) and value < least:
        yield Fault("FieldValueInvalid", f"Invalid value: {value}: should be greater than or equal to {least}", place)
