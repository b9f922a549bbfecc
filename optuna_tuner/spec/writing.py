"""StudySpec -> a tidy study file that reads back as the same."""

from __future__ import annotations

import yaml
from pydantic import JsonValue

from optuna_tuner.spec.scalars import ScalarError, plain
from optuna_tuner.spec.study import StudySpec

SCHEMA_FILE = "study.schema.json"  # what `schema` writes beside the studies
SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}"
WIDTH = 110

_COMMENTS = {
    "engine": "Every trial has these flags; trial 0 has no others.",
    "benchmark": "The load. Each level is measured on the same warm server.",
    "space": "What the search may change.",
    "first": "Tried after the baseline, before the search chooses.",
    "rules": "Known to be wrong: refused before anything is launched.",
    "confirm": "What is measured again at the end, for a verdict that holds; this many runs come on top of the budget.",
    "quality": "Flags that change more than the speed: which, and how far the answers may drift.",
    "goals": "What is wanted, and the promise that must be kept.",
    "budget": "The study ends at whichever comes first.",
    "limits": "Seconds that each phase of one trial may take.",
}


def to_yaml(spec: StudySpec) -> str:
    """A study file with all that differs from the defaults. Reading it gives an equal study."""
    content: dict[str, JsonValue] = spec.model_dump(mode="json", exclude_defaults=True)
    sections = [_section(name, value) for name, value in content.items()]
    return "\n".join([SCHEMA_LINE, *sections]) + "\n"


def _section(name: str, value: JsonValue) -> str:
    comment = f"\n# {_COMMENTS[name]}\n" if name in _COMMENTS else ""
    if name == "space" and isinstance(value, dict):
        value = {parameter: _Line(_type_first(definition)) for parameter, definition in value.items()}
    flow = None if isinstance(value, dict | list) else False
    text = yaml.dump(
        {name: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=flow
    )
    return comment + text.rstrip("\n")


def _type_first(definition: JsonValue) -> dict[str, JsonValue]:
    """A parameter as one writes it: its type, its range, its condition."""
    fields = definition if isinstance(definition, dict) else {}
    last = ("env", "when")
    order = ["type", *(name for name in fields if name not in {"type", *last}), *last]
    return {name: fields[name] for name in order if name in fields}


class _Line(dict[str, JsonValue]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    """Quotes what this package, or an older YAML, would not read as text."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        quoted = not isinstance(plain(text), str)
    except ScalarError:
        quoted = True
    quoted = quoted or not text.replace("\n", "").isprintable()  # PyYAML loses some of YAML's odder line breaks
    # The end of a section is trimmed; a block cannot begin or end with empty lines then, nor consist of them alone.
    quoted = quoted or not text.strip("\n") or text.removesuffix("\n") != text.strip("\n")
    style = '"' if quoted else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _line(dumper: yaml.SafeDumper, mapping: _Line) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping.items(), flow_style=True)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Line, _line)
