"""Flags, read off what a program prints when it is asked for help: argparse's way (vLLM, SGLang), and llama.cpp's.

A help text says less than the source does. It never says what a word is read as, so that a flag is text unless its
choices or its default tell more; and it says nothing of flags that are hidden. What the text does not say is not
guessed: `default_is_known` is False there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from optuna_tuner.catalog.asking.help_words import (
    Invocation,
    allowed,
    default_at_end,
    default_within,
    deprecation,
    invocation,
)
from optuna_tuner.catalog.catalogue import Flag, FlagType, plain
from optuna_tuner.values import Json

LLAMA_HEADING = "----- "
LLAMA_COLUMN = 40  # where llama.cpp starts its explanations
AFTER_COMMA = re.compile(r",(\s+)(?=-)")
GAP = re.compile(r"\s{2,}")
HELP = frozenset({"help", "usage", "version"})
REMOVED = "the argument has been removed"
VARIABLE = re.compile(r"\(env: LLAMA_ARG_(\w+)\)")
SAYS_JSON = "valid JSON string"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a help text: how the flag is written, and what is said about it."""

    written: str
    said: str


def flags(text: str) -> tuple[Flag, ...]:
    """Every flag of the text, in its order; nothing where the text is no help text.

    The canonical name is the long spelling that the text says the value is kept under, else the first long spelling.
    argparse says it by the word that stands for the value, llama.cpp by the environment variable.
    """
    lines = text.expandtabs().splitlines()
    by_llama = any(line.startswith(LLAMA_HEADING) for line in lines)
    entries = _entries(lines, by_llama=by_llama)
    found = (_flag(each, by_llama=by_llama) for each in entries if REMOVED not in each.said)
    named = {flag.name: flag for flag in reversed([flag for flag in found if flag.name not in HELP])}
    return tuple(reversed(named.values()))


def _entries(lines: list[str], *, by_llama: bool) -> Iterator[Entry]:
    """A flag's lines are the one that starts with its dashes, and the deeper ones that follow."""
    indent, written, said = "" if by_llama else "  ", "", list[str]()
    for line in lines:
        starts = line.startswith(f"{indent}-") and not line.startswith(f"{indent}---")
        goes_on = not line.strip() or len(line) - len(line.lstrip()) > len(indent) + 2
        if written and (starts or not goes_on):
            yield Entry(written, _joined(said))
            written = ""
        if starts:
            written, first = _parted(line.strip(), by_llama=by_llama)
            said = [first]
        elif written:
            said.append(line.strip())
    if written:
        yield Entry(written, _joined(said))


def _parted(line: str, *, by_llama: bool) -> tuple[str, str]:
    """The spellings, and what is said on the same line: after a gap, or at llama.cpp's column with none to speak of."""
    masked = AFTER_COMMA.sub(lambda gap: "," + "_" * len(gap[1]), line)
    gap = GAP.search(masked)
    if gap is not None:
        return line[: gap.start()], line[gap.end() :]
    if by_llama and masked[LLAMA_COLUMN - 1 : LLAMA_COLUMN] == " ":
        return line[: LLAMA_COLUMN - 1], line[LLAMA_COLUMN:]
    return line, ""


def _joined(lines: list[str]) -> str:
    return " ".join(each for each in lines if each)


def _flag(entry: Entry, *, by_llama: bool) -> Flag:
    written = invocation(entry.written)
    stated = (default_within if by_llama else default_at_end)(entry.said, is_switch=not written.takes)
    choices = written.choices or allowed(entry.said)
    name = _name(written, entry.said)
    return Flag(
        name=name,
        spellings=tuple(sorted(written.spellings, key=lambda each: (plain(each) != name, not each.startswith("--")))),
        type=_type(replace(written, choices=choices), stated.value, entry.said, by_llama=by_llama),
        many=written.many,
        choices=choices,
        default=stated.value,
        default_is_known=stated.is_known,
        default_from=stated.by,
        negatable=written.negatable,
        deprecated=deprecation(entry.said),
    )


def _name(written: Invocation, said: str) -> str:
    long = [plain(each) for each in written.spellings if each.startswith("--")] or [plain(written.spellings[0])]
    variable = VARIABLE.search(said)
    kept_as = variable[1].lower() if variable else written.kept_as
    return kept_as if kept_as in long else long[0]


def _type(written: Invocation, default: Json, said: str, *, by_llama: bool) -> FlagType:
    """As far as the text tells. llama.cpp writes a fraction's default with its point; a Python program need not."""
    if not written.takes:
        return FlagType.SWITCH
    if written.choices:
        return FlagType.INT if all(isinstance(each, int) for each in written.choices) else FlagType.TEXT
    if isinstance(default, dict) or SAYS_JSON in said:
        return FlagType.JSON
    if not isinstance(default, int | float) or isinstance(default, bool):
        return FlagType.TEXT
    return FlagType.INT if by_llama and isinstance(default, int) else FlagType.FLOAT
