"""The flags of `vllm serve`, read from a released wheel of vLLM.

vLLM builds its parser in `ServeSubcommand.subparser_init`, most of it from the types, defaults and texts of its
configuration classes. That function is followed through the wheel's own source, as it stands in that version. Defaults
that vLLM takes from the environment are those of an empty one.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping
from typing import cast

from optuna_tuner.catalog.catalogue import Flag, FlagType, plain
from optuna_tuner.catalog.scan.python_modules import Modules
from optuna_tuner.catalog.scan.symbolic_attributes import attribute
from optuna_tuner.catalog.scan.symbolic_reader import SymbolicReader
from optuna_tuner.catalog.scan.symbols import (
    SUPPRESS,
    Argument,
    Class,
    Function,
    Instance,
    Library,
    Member,
    Parser,
    Unknown,
    UnreadableError,
)
from optuna_tuner.catalog.wheels.wheel import Wheel
from optuna_tuner.errors import CatalogError
from optuna_tuner.values import Json

SERVE = "vllm.entrypoints.cli.serve"
BOOLEAN = Library("argparse.BooleanOptionalAction")
SWITCHES: Mapping[object, bool | None] = {"store_true": False, "store_false": True, BOOLEAN: None}  # their defaults
SHAPING = ("action", "dest", "nargs", "type")  # without these, it cannot be said how a flag is written
TYPES: Mapping[object, FlagType] = {int: FlagType.INT, float: FlagType.FLOAT, Library("json.loads"): FlagType.JSON}
RETURNS = {"int": FlagType.INT, "float": FlagType.FLOAT, "dict": FlagType.JSON}
ALSO_TAKES_WORDS = frozenset({"human_readable_int_or_auto"})  # `auto`, where its type says int
SENTENCE_ENDS = re.compile(r"(?<=[.!])\s+|\n\n")
SAYS_DEPRECATED = re.compile(r"^\W*deprecated\b|\bthis \w+ (is|has been) deprecated\b", re.IGNORECASE)


class NoJsonError(ValueError):
    """A value that cannot be written as JSON, or is not known."""


def flags(wheel: Wheel) -> tuple[Flag, ...]:
    """The flags in the order in which vLLM adds them. Raises CatalogError, with the file and line."""
    modules = Modules(wheel)
    reader = SymbolicReader(modules)
    parser = Parser()
    try:
        made = cast("Class", reader.global_value(modules.need(SERVE), "ServeSubcommand"))
        reader.call(attribute(reader, Instance(made, {}), "subparser_init"), parser)
    except (UnreadableError, LookupError) as error:
        raise CatalogError(f"the flags of {wheel.source['wheel']} cannot be read: {error}") from error
    return tuple(_flag(each) for each in parser.arguments if each.names[0].startswith("-"))


def _flag(argument: Argument) -> Flag:
    given = argument.options
    unread = [name for name in SHAPING if isinstance(given.get(name), Unknown)]
    if unread:
        what = f"{' and '.join(unread)} of {argument.names[0]}"
        raise CatalogError(f"{argument.place}: the {what} cannot be told without running the code")
    action = given.get("action")
    switch = isinstance(action, str | Library) and action in SWITCHES
    spellings = tuple(sorted(argument.names, key=lambda each: not each.startswith("--")))
    kind = FlagType.SWITCH if switch else _type(given.get("type", str))
    default, known = _default(given.get("default", SWITCHES[action] if switch else None), kind)
    nargs = given.get("nargs")
    return Flag(
        name=str(given.get("dest") or plain(spellings[0])),
        spellings=spellings,
        type=kind,
        many=nargs in {"+", "*"} or isinstance(nargs, int),
        choices=() if switch else tuple(_choices(given.get("choices"), optional=_is_optional(given.get("type")))),
        default=default,
        default_is_known=known,
        negatable=action == BOOLEAN,
        deprecated=_deprecation(given, spellings),
    )


def _default(value: object, kind: FlagType) -> tuple[Json, bool]:
    """The default, and whether it is known. An object where no JSON is read is a mark of vLLM's own."""
    if isinstance(value, Instance) and kind is not FlagType.JSON:
        return None, False
    try:
        return (None if value == SUPPRESS else _json(value)), True
    except NoJsonError:
        return None, False


def _json(value: object) -> Json:
    """A value as it would be given on the command line. Raises NoJsonError.

    A configuration object that is made of nothing is the empty JSON object: vLLM reads the one as it makes the other.
    """
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Member):
        return _json(value.value)
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((_json(each) for each in value), key=str)
    if isinstance(value, dict | Instance):
        pairs = value.given if isinstance(value, Instance) else value
        return {str(key): _json(each) for key, each in pairs.items()}
    raise NoJsonError


def _choices(given: object, *, optional: bool) -> Iterable[str | int | float]:
    """The values that are taken; none where only running would tell all of them.

    Up to 0.30, vLLM lists the word "None" of an optional flag, and then refuses it, because it has read it as nothing.
    """
    listed = list(given) if isinstance(given, list | tuple | dict) else []
    values = [each.value if isinstance(each, Member) else each for each in listed]
    if not all(isinstance(each, str | int | float | None) for each in values):
        return []
    return [
        "None" if each is None else cast("str | int | float", each)
        for each in values
        if not (optional and each == "None")
    ]


def _is_optional(reads: object) -> bool:
    return isinstance(reads, Function) and "return_type" in _around(reads) and _name(reads) == "_optional_type"


def _type(reads: object) -> FlagType:
    """What a word is read as, by what reads it; text where that takes more than one kind."""
    if not isinstance(reads, Function):
        return TYPES.get(reads, FlagType.TEXT) if isinstance(reads, type | Library) else FlagType.TEXT
    inner = _around(reads).get("return_type")
    if inner is not None:
        return _type(inner)
    if isinstance(reads.node, ast.Lambda) or _name(reads) in ALSO_TAKES_WORDS:
        return FlagType.TEXT
    if any(isinstance(each, ast.Attribute) and each.attr == "validate_json" for each in ast.walk(reads.node)):
        return FlagType.JSON
    return RETURNS.get(ast.unparse(reads.node.returns) if reads.node.returns else "", FlagType.TEXT)


def _around(reads: Function) -> Mapping[str, object]:
    """The names of the function that made this one."""
    return reads.scope.names


def _name(reads: Function) -> str:
    return reads.node.name if isinstance(reads.node, ast.FunctionDef) else ""


def _deprecation(given: Mapping[str, object], spellings: tuple[str, ...]) -> str:
    """What vLLM says of a flag that is to go; empty of one that stays."""
    text = given.get("help")
    sentences = SENTENCE_ENDS.split(text.strip()) if isinstance(text, str) else []
    said = [" ".join(each.split()) for each in sentences if each]
    first = next((place for place, each in enumerate(said) if _says_deprecated(each, spellings)), None)
    if first is not None:
        return " ".join(each for each in said[first:] if each is said[first] or "instead" in each)
    return (" ".join(said[:1]) or "deprecated") if given.get("deprecated") is True else ""


def _says_deprecated(sentence: str, spellings: tuple[str, ...]) -> bool:
    """Whether it says so of its own flag, and not of something else."""
    own = any(f"{each} is deprecated" in sentence for each in spellings)
    return own or SAYS_DEPRECATED.search(sentence) is not None
