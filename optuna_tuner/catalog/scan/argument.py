"""What an engine's source says to argparse about one flag, and the flag that comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from optuna_tuner.catalog.catalogue import Flag, FlagType, plain
from optuna_tuner.values import Json

SWITCHES = frozenset({"store_true", "store_false", "BooleanOptionalAction"})
TYPES: Mapping[str, FlagType] = {
    "int": FlagType.INT,
    "float": FlagType.FLOAT,
    "dict": FlagType.JSON,
    "list": FlagType.JSON,
    "loads": FlagType.JSON,
    "json_list_type": FlagType.JSON,
}
SAYS_DEPRECATED = re.compile(
    r"^[(\[]deprecated\b[:.,]?\s*([^)\]]*)[)\]]\s*(.*)|^deprecated\b[:.,]?\s*(.*)", re.IGNORECASE | re.DOTALL
)
ONE_FLAG = re.compile(r"--[a-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument, as it is declared.

    Attributes:
        spellings: as they are declared, each with its dashes.
        dest: the name that the parsed value gets.
        action: the name of the action, without its module; empty for the usual one.
        type: the name of what reads a word, without its module, or of what that returns; empty for text.
        many: whether it takes several words.
        no_word: whether it takes none, whatever the action.
        choices: the only values that are taken.
        default: its default; UNSET where none is declared.
        default_is_known: False where one is declared, but cannot be told.
        help: what it says about itself.
        new_flag: what a deprecated one says to use instead.
        deprecated: whether the action says that it is deprecated.

    """

    spellings: tuple[str, ...]
    dest: str
    action: str = ""
    type: str = ""
    many: bool = False
    no_word: bool = False
    choices: tuple[str | int | float, ...] = ()
    default: Json = None
    default_is_known: bool = True
    help: str = ""
    new_flag: str = ""
    deprecated: bool = False


def flags_of(arguments: Iterable[Argument]) -> tuple[Flag, ...]:
    """The flags, in their order, each with a name of its own."""
    given = tuple(arguments)
    owners: dict[str, Argument] = {}
    for each in sorted(given, key=_is_alias):
        owners.setdefault(each.dest, each)
    return tuple(_flag(each, owns=owners[each.dest] is each) for each in given)


def destination(spellings: tuple[str, ...]) -> str:
    """The name that argparse gives: by the first long spelling, else by the first."""
    return plain(next((each for each in spellings if each.startswith("--")), spellings[0]))


def choices_of(found: object) -> tuple[str | int | float, ...]:
    """The choices as a catalogue has them. `None` among them stands for "unset", which no word can say."""
    values = cast("list[object]", found if isinstance(found, list) else [])
    return tuple(each for each in values if isinstance(each, str | int | float))


def _is_alias(argument: Argument) -> bool:
    return argument.deprecated or argument.dest != destination(argument.spellings)


def _flag(argument: Argument, *, owns: bool) -> Flag:
    switch = argument.no_word or argument.action in SWITCHES
    name = argument.dest if owns else plain(argument.spellings[0])
    made = Flag(
        name=name,
        spellings=argument.spellings,
        type=FlagType.SWITCH if switch else TYPES.get(argument.type.lower(), FlagType.TEXT),
        many=argument.many,
        choices=argument.choices,
        default=argument.default,
        default_is_known=argument.default_is_known,
        negatable=argument.action == "BooleanOptionalAction",
    )
    return replace(made, deprecated=_deprecated(argument), renamed_to=_renamed_to(argument, name))


def deprecation(said: str) -> str:
    """What a text says to use instead, where it begins with that the flag is deprecated; empty where it does not."""
    found = SAYS_DEPRECATED.match(said)
    instead = next((each for each in found.groups() if each), "") if found else ""
    return " ".join(instead.split()) or ("deprecated" if found else "")


def _deprecated(argument: Argument) -> str:
    if argument.new_flag:
        return f"use {argument.new_flag}"
    return deprecation(argument.help) or (
        " ".join(argument.help.split()) or "deprecated" if argument.deprecated else ""
    )


def _renamed_to(argument: Argument, name: str) -> str:
    """The flag that takes the value as it is; none where another value has to be said."""
    if argument.action == "DeprecatedStoreTrueAction" and ONE_FLAG.fullmatch(argument.new_flag):
        return plain(argument.new_flag)
    keeps_value = argument.deprecated and argument.action not in {
        "DeprecatedStoreTrueAction",
        "DeprecatedStoreConstAction",
    }
    return argument.dest if keeps_value and argument.dest != name else ""
