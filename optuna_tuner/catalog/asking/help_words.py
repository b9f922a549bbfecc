"""The words of a help text: how a flag is written, and what is said of its default."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from optuna_tuner.catalog.scan.argument import deprecation as begins_deprecated
from optuna_tuner.values import Json

BETWEEN = re.compile(r",\s+(?=-)")
IN_BRACES = re.compile(r"\{([^{}]*)\}")
IN_BARS = re.compile(r"^[\[<]([\w.+-]+(?:\|[\w.+-]+)+)[\]>]$")
MANY = re.compile(r"\[.*\.\.\.\]|^[A-Z]+ [A-Z]+$")
KEPT_AS = re.compile(r"[A-Z][A-Z0-9_]+")
AT_END = re.compile(r"\(default: (.*)\)\s*$", re.DOTALL)
WITHIN = re.compile(r"\bdefault: ?([^),;]*)(,?)")
LISTED = re.compile(r"\w*[A-Za-z]\w*")  # the first of several words, of which it cannot be told where they end
MEMBER = re.compile(r"[A-Z]\w*\.[A-Z_]+")  # as Python prints a member of an enumeration, whose value it hides
WORD = re.compile(r"[\w.:/*+-]+")
ALLOWED = re.compile(r"allowed values: (\w+(?:, \w+)*)")
FROM_ANOTHER = re.compile(r"--|same as|read from|loaded from|follows")
SWITCHED: Mapping[str, bool] = {"enabled": True, "true": True, "disabled": False, "false": False}
UNSET = frozenset({"disabled", "unused", "unset"})
SAYS_IT_LATER = re.compile(r"\((DEPRECATED[^)]*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How a flag is written.

    Attributes:
        spellings: those that turn it on or give it a value.
        takes: whether words follow.
        many: whether more than one may follow.
        choices: the only words that are taken.
        kept_as: the name of the value, in lower case, where one stands for it; empty otherwise.
        negatable: whether it has a `--no-` form.

    """

    spellings: tuple[str, ...]
    takes: bool
    many: bool
    choices: tuple[str | int | float, ...]
    kept_as: str
    negatable: bool


@dataclass(frozen=True, slots=True)
class Stated:
    """What is said of a default: its value, whether that is known, and what it is chosen by, in words."""

    value: Json
    is_known: bool
    by: str = ""


def invocation(written: str) -> Invocation:
    """`--tp-size N, -tp N`, `--x, --no-x`, `--kind {a,b}`, `-fa, --flash-attn [on|off|auto]`."""
    parts = [part.partition(" ") for part in BETWEEN.split(written)]
    spellings, negatable = _positive([spelling for spelling, _, _ in parts])
    word = next((rest.strip() for _, _, rest in reversed(parts) if rest.strip()), "")
    kept_as = KEPT_AS.match(word)
    return Invocation(
        spellings=tuple(spellings),
        takes=bool(word),
        many=MANY.search(word) is not None,
        choices=_choices(word),
        kept_as=kept_as[0].lower() if kept_as else "",
        negatable=negatable,
    )


def default_at_end(said: str, *, is_switch: bool) -> Stated:
    """What the text says of the default at its end, as argparse does."""
    found = AT_END.search(said)
    return _stated(found[1], is_switch=is_switch) if found else Stated(None, is_known=False)


def default_within(said: str, *, is_switch: bool) -> Stated:
    """What the text says of the default anywhere, up to the next comma or bracket, as llama.cpp does."""
    found = WITHIN.search(said)
    if found is None or (found[2] and not is_switch and LISTED.fullmatch(found[1])):
        return Stated(None, is_known=False)
    return _stated(found[1], is_switch=is_switch)


def allowed(said: str) -> tuple[str, ...]:
    """The values that the text itself lists, as llama.cpp does for some flags."""
    found = ALLOWED.search(said)
    return tuple(found[1].split(", ")) if found else ()


def deprecation(said: str) -> str:
    """What the text says instead, where it says that the flag is deprecated."""
    later = SAYS_IT_LATER.search(said)
    return begins_deprecated(said) or (later[1].lower() if later else "")


def _stated(written: str, *, is_switch: bool) -> Stated:
    word = written.strip()
    if is_switch and word.lower() in SWITCHED:
        return Stated(SWITCHED[word.lower()], is_known=True)
    if word in UNSET:
        return Stated(None, is_known=True)
    if FROM_ANOTHER.match(word):
        return Stated(None, is_known=False, by=word)
    try:
        value = ast.literal_eval(word)
    except (ValueError, SyntaxError):
        is_word = not word or (WORD.fullmatch(word) is not None and MEMBER.fullmatch(word) is None)
        return Stated(word if is_word else None, is_known=is_word)
    return Stated(cast("Json", value), is_known=True) if _is_json(value) else Stated(None, is_known=False)


def _is_json(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_json(each) for each in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(each) for key, each in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def _positive(spellings: list[str]) -> tuple[list[str], bool]:
    """The spellings without those that turn it off: long ones, and llama.cpp's short ones before them."""
    long = [index for index, each in enumerate(spellings) if each.startswith("--")]
    no = next((index for index in long[1:] if spellings[index].startswith("--no-")), None)
    if no is None:
        return spellings, False
    before = spellings[: max(index for index in long if index < no) + 1]
    return [*before, *(each for each in spellings[no:] if not each.startswith("--"))], True


def _choices(word: str) -> tuple[str | int | float, ...]:
    braces, bars = IN_BRACES.search(word), IN_BARS.match(word)
    listed = braces[1].split(",") if braces else bars[1].split("|") if bars else []
    return tuple(int(each) if re.fullmatch(r"-?\d+", each) else each for each in listed)
