"""The JSON Schema of study files, with the options of every installed kind, so that an editor completes them."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, JsonValue

from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import UnknownPluginError
from optuna_tuner.spec.parts import GROUPS
from optuna_tuner.spec.study import StudySpec

Schema = dict[str, JsonValue]


def study_schema(kinds: Kinds) -> Schema:
    """JSON Schema, draft 2020-12. A kind that is installed but cannot be loaded is named without its options."""
    schema: Schema = StudySpec.model_json_schema()
    definitions = _mapping(schema["$defs"])
    properties = _mapping(schema["properties"])
    for name, group in GROUPS.items():
        alternatives: list[JsonValue] = []
        for kind in kinds.names(group):
            key = f"{name}_{kind}"
            definitions.update(_of_kind(kinds, group, kind, key))
            alternatives.append({"$ref": f"#/$defs/{key}"})
        properties[name] = {"oneOf": alternatives, "description": f"{name}: its kind and the options of that kind"}
    definitions.pop("Part", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Study of optuna-tuner"}


def _of_kind(kinds: Kinds, group: str, kind: str, key: str) -> Schema:
    """The definitions of one kind's options, under names of their own."""
    try:
        plugin = kinds.plugin(group, kind)
    except (UnknownPluginError, ImportError, AttributeError):
        return {key: {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}}
    own = _options(plugin.Options, key)
    definitions = {f"{key}_{name}": value for name, value in _mapping(own.pop("$defs", {})).items()}
    properties: Schema = {"kind": {"const": kind, "description": plugin.summary}, **_mapping(own.get("properties", {}))}
    required: list[JsonValue] = ["kind", *_names(own.get("required", []))]
    whole: Schema = {**own, "title": kind, "properties": properties, "required": required}
    return {**definitions, key: whole}


def _options(options: type[BaseModel], key: str) -> Schema:
    schema: Schema = options.model_json_schema(ref_template=f"#/$defs/{key}_{{model}}")
    return schema


def _mapping(value: JsonValue) -> Schema:
    return value if isinstance(value, dict) else {}


def _names(value: JsonValue) -> Iterator[str]:
    return (str(name) for name in (value if isinstance(value, list) else []))
