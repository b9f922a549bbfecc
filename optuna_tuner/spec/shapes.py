"""Which keys a model knows at a path: the source of every "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from pydantic import BaseModel, JsonValue

from optuna_tuner.spec.yaml_nodes import Path

Schema = Mapping[str, JsonValue]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "high"?`, or nothing where no known word is close."""
    close = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def known_keys(model: type[BaseModel], value: JsonValue, path: Path) -> tuple[str, ...]:
    """The keys that the model knows in the mapping at `path` of `value`."""
    schemas = _at(model, value, path)
    return tuple(dict.fromkeys(key for schema in schemas for key in _mapping(schema.get("properties"))))


def description(model: type[BaseModel], value: JsonValue, path: Path) -> str:
    """What the model says about the field at `path` of `value`; empty where it says nothing."""
    return next((str(text) for schema in _at(model, value, path) if (text := schema.get("description"))), "")


def _at(model: type[BaseModel], value: JsonValue, path: Path) -> list[Schema]:
    whole = _schema(model)
    schemas = list(_expand(whole, whole, value))
    for step in path:
        value = _child(value, step)
        schemas = [found for schema in schemas for found in _step(schema, whole, step, value)]
    return schemas


@cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _child(value: JsonValue, step: str | int) -> JsonValue:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _step(schema: Schema, whole: Schema, step: str | int, value: JsonValue) -> Iterator[Schema]:
    below = _mapping(schema.get("properties")).get(str(step), schema.get("additionalProperties"))
    yield from _expand(_mapping(schema.get("items") if isinstance(step, int) else below), whole, value)


def _expand(schema: Schema, whole: Schema, value: JsonValue) -> Iterator[Schema]:
    """The schema itself, or the alternatives behind a reference or a union; one of them where a tag chooses."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rsplit("/", 1)[-1]
        yield from _expand(_mapping(_mapping(whole.get("$defs")).get(name)), whole, value)
        return
    alternatives = _chosen(schema, value) or [*_list(schema.get("anyOf")), *_list(schema.get("oneOf"))]
    if not alternatives:
        yield schema
    for alternative in alternatives:
        yield from _expand(_mapping(alternative), whole, value)


def _chosen(schema: Schema, value: JsonValue) -> list[JsonValue]:
    discriminator = _mapping(schema.get("discriminator"))
    tag = _mapping(value).get(str(discriminator.get("propertyName")))
    reference = _mapping(discriminator.get("mapping")).get(str(tag))
    return [{"$ref": reference}] if reference else []


def _mapping(value: JsonValue | None) -> Schema:
    return value if isinstance(value, dict) else {}


def _list(value: JsonValue | None) -> list[JsonValue]:
    return value if isinstance(value, list) else []
