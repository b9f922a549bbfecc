"""pydantic's errors -> faults in plain words: what is wrong, what would be right, and where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from optuna_tuner.errors import Fault
from optuna_tuner.spec.misfits import MISFITS, Misfit
from optuna_tuner.spec.scalars import ScalarError, plain
from optuna_tuner.spec.shapes import description, did_you_mean, known_keys
from optuna_tuner.spec.yaml_nodes import MOST_FAULTS, Path, Tree
from optuna_tuner.values import Json

LONGEST_QUOTE = 60  # characters of the user's value that are repeated to him

Context = Mapping[str, object]

_WANTED = {  # in the order in which they are told
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
}
# Said of a whole when a piece of it is wrong: by the other alternatives of a union, or of a list with no sound item.
_ECHOES = frozenset({*_WANTED, "too_short"})
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}


def faults_of(error: ValidationError, tree: Tree, model: type[BaseModel], root: Path = ()) -> list[Fault]:
    """Every fault that pydantic found while it read the part of `tree` at `root` as `model`."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False)[: 10 * MOST_FAULTS]:
        by_path.setdefault(_path(detail, tree.at(root)), []).append(detail)
    deeper = {path[:length] for path in by_path for length in range(len(path))}
    faults: list[Fault] = []
    for path, details in by_path.items():
        if path in deeper and all(detail["type"] in _ECHOES for detail in details):
            continue
        faults += _explain(path, details, tree, (model, root))
    return faults


def show(value: object) -> str:
    """A value as it is repeated in a message: short, on one line, in the words of the file."""
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + '..."'


def one_of(words: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *first, last = list(words)
    return f"{', '.join(first)} or {last}" if first else last


def _path(detail: ErrorDetails, value: Json) -> Path:
    """Where the error is, without the tags that pydantic adds for the members of unions."""
    *inner, last = detail["loc"] or ("",)
    path: list[str | int] = []
    tagged = False  # a union puts its tag once in front of a key
    for step in inner:
        below = _below(step, value)
        if below is None or (_tag(step, value) and not tagged):
            tagged = True
        else:
            value, tagged = below[0], False
            path.append(step)
    named = _below(last, value) is not None
    if detail["type"] in {"missing", "extra_forbidden"} or (named and (tagged or not _tag(last, value))):
        path.append(last)
    return tuple(path)


def _below(step: str | int, value: Json) -> tuple[Json] | None:
    """The value one step down, in a tuple since it may be null; None where there is no such step."""
    if isinstance(value, dict) and isinstance(step, str) and step in value:
        return (value[step],)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return (value[step],)
    return None


def _tag(step: str | int, value: Json) -> bool:
    return isinstance(value, dict) and step in {value.get("type"), value.get("kind")}


def _explain(
    path: Path, details: Sequence[ErrorDetails], tree: Tree, of: tuple[type[BaseModel], Path]
) -> Iterable[Fault]:
    model, root = of
    detail, place = details[0], root + path
    context: Context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = known_keys(model, tree.at(root), path[:-1])
        hint = did_you_mean(str(path[-1]), known) or (f"; known keys: {', '.join(known)}" if known else "")
        yield tree.fault(place, f"unknown key{hint}", at_key=True)
    elif kind == "missing":
        yield tree.fault(place, "missing; this key is required")
    elif kind == MISFITS:
        for misfit in context[MISFITS]:  # type: ignore[attr-defined]  # what misfits.refuse put there
            yield tree.fault(place + Misfit(*misfit).path, Misfit(*misfit).message)
    elif kind in {"union_tag_invalid", "union_tag_not_found"}:
        yield _tag_fault(tree, place, context)
    elif kind == "string_pattern_mismatch":
        wanted = description(model, tree.at(root), path) or f"text that matches {context['pattern']}"
        yield tree.fault(place, f"must be {wanted}; it is {show(detail['input'])}")
    else:
        yield tree.fault(place, _message(details, context))


def _tag_fault(tree: Tree, place: Path, context: Context) -> Fault:
    key = str(context["discriminator"]).strip("'")
    known = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
    here = (*place, key)
    if not known:
        return tree.fault(here, "missing; this key is required")
    found = tree.at(here)
    hint = did_you_mean(found, known) if isinstance(found, str) else ""
    return tree.fault(here, f"must be {one_of(map(show, known))}, not {show(found)}{hint}")


def _message(details: Sequence[ErrorDetails], context: Context) -> str:
    kind, value = details[0]["type"], details[0]["input"]
    if kind in _WANTED:
        return f"must be {_wanted(details)}, not {show(value)}{_quotes(details, value)}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {_bound(context[bound])}, not {show(value)}"
    words_of = _MESSAGES.get(kind)
    if words_of is not None:
        return words_of(context, value)
    text = details[0]["msg"]
    return f"{text[:1].lower()}{text[1:]}; it is {show(value)}"


def _bound(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else show(value)


def _wanted(details: Sequence[ErrorDetails]) -> str:
    found = {_WANTED[detail["type"]] for detail in details if detail["type"] in _WANTED}
    if "a number" in found:
        found.discard("a whole number")
    return one_of(word for word in dict.fromkeys(_WANTED.values()) if word in found)


def _quotes(details: Sequence[ErrorDetails], value: object) -> str:
    """YAML's commonest trap: a version that reads as a number, a number that was quoted."""
    kinds = {detail["type"] for detail in details}
    if kinds == {"string_type"} and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if isinstance(value, str) and kinds <= {"int_type", "float_type", "bool_type"} and _unquoted(value):
        return "; leave the quotes away"
    return ""


def _unquoted(text: str) -> bool:
    try:
        return isinstance(plain(text), bool | int | float)
    except ScalarError:
        return False


def _literal(context: Context, value: object) -> str:
    known = re.findall(r"'([^']*)'", str(context["expected"]))
    wanted = one_of(map(show, known)) if known else str(context["expected"])
    return f"must be {wanted}, not {show(value)}{did_you_mean(value, known) if isinstance(value, str) else ''}"


def _too_short(context: Context, _value: object) -> str:
    least = context["min_length"]
    return "must not be empty" if least == 1 else f"must have at least {least} entries"


_MESSAGES: Mapping[str, Callable[[Context, object], str]] = {
    "enum": _literal,
    "literal_error": _literal,
    "too_short": _too_short,
    "string_too_short": _too_short,
    "too_long": lambda context, _: f"must have at most {context['max_length']} entries",
    "string_too_long": lambda context, _: f"must have at most {context['max_length']} characters",
    "finite_number": lambda _, value: f"must be a finite number, not {show(value)}",
    "value_error": lambda context, _: str(context["error"]),
    "assertion_error": lambda context, _: str(context["error"]),
}
