"""The installed plugins and their options, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, JsonValue
from pydantic_core import to_jsonable_python

from optuna_tuner.cli.output import print_rows
from optuna_tuner.cli.session import Session
from optuna_tuner.errors import NotFoundError, UnknownPluginError
from optuna_tuner.plugins import GROUPS, InstalledKinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that a study file may say to a plugin."""

    name: str
    type: str
    required: bool
    default: JsonValue
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One installed plugin. `broken` says why it cannot be loaded; empty where it can."""

    group: str
    kind: str
    summary: str = ""
    broken: str = ""
    options: tuple[Option, ...] = ()


def plugin_list(kind: str | None = None) -> list[Listed]:
    """All installed plugins, or those of one kind. Raises NotFoundError."""
    kinds = InstalledKinds()
    names = [(group, name) for group in GROUPS for name in kinds.names(group)]
    found = [_listed(kinds, group, name) for group, name in names if kind in {None, name}]
    if not found:
        known = ", ".join(name for _, name in names)
        raise NotFoundError(f'no plugin of kind "{kind}" is installed; installed: {known}')
    return found


def _listed(kinds: InstalledKinds, group: str, kind: str) -> Listed:
    try:
        plugin = kinds.plugin(group, kind)
    except (UnknownPluginError, ImportError, AttributeError) as error:
        return Listed(group=group, kind=kind, broken=f"cannot be loaded: {error}")
    return Listed(group=group, kind=kind, summary=plugin.summary, options=options_of(plugin.Options))


def options_of(options: type[BaseModel]) -> tuple[Option, ...]:
    """What a study file may say to this model."""
    properties = options.model_json_schema().get("properties", {})
    return tuple(
        Option(
            name=field.alias or name,
            type=_type(properties.get(field.alias or name, {})),
            required=field.is_required(),
            default=None
            if field.is_required()
            else to_jsonable_python(field.get_default(call_default_factory=True, validated_data={}), fallback=str),
            description=field.description or "",
        )
        for name, field in options.model_fields.items()
    )


def _type(schema: dict[str, JsonValue]) -> str:
    """A JSON Schema's type in a word or two."""
    for several in ("anyOf", "oneOf"):
        alternatives = schema.get(several)
        if isinstance(alternatives, list):
            return " or ".join(dict.fromkeys(_type(each) for each in alternatives if isinstance(each, dict)))
    words = schema.get("enum")
    if isinstance(words, list):
        return " or ".join(str(word) for word in words)
    items = schema.get("items")
    if isinstance(items, dict) and items:
        return f"list of {_type(items)}"
    if "$ref" in schema:
        return "mapping"
    return {"object": "mapping", "array": "list"}.get(str(schema.get("type", "any")), str(schema.get("type", "any")))


def show_plugins(session: Session, found: list[Listed]) -> None:
    """Print each plugin and a table of its options."""
    group = ""
    for plugin in found:
        if plugin.group != group:
            group = plugin.group
            session.out.print(f"\n{group.upper()}", style="bold")
        session.out.print(f"\n{plugin.kind}", style="bold cyan", end="  ")
        session.out.print(plugin.summary or plugin.broken)
        rows = [(f"  {each.name}", each.type, _default(each), each.description) for each in plugin.options]
        if rows:
            print_rows(session, ("  option", "type", "default", "is"), rows)


def _default(option: Option) -> str:
    if option.required:
        return "(required)"
    return "" if option.default in (None, {}, []) else str(option.default)
