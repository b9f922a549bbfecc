"""The true engine's command line, read by its catalogue: what its own parser refuses is refused here in its words."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from optuna_tuner.catalog.catalogue import Catalogue, Flag, FlagType
from optuna_tuner.simulation.flags import Flags
from optuna_tuner.simulation.outcome import known_flags
from optuna_tuner.values import Scalar

PROGRAMS = {"vllm": "vllm", "sglang": "launch_server.py"}
TYPES = {FlagType.INT: int, FlagType.FLOAT: float}
NO_SETTING = ("host", "port", "model", "model_tag", "model_path", "served_model_name", "tokenizer", "tokenizer_path")
LENGTHS = ("context_length", "max_model_len")  # the flags that say the longest sequence, of SGLang and of vLLM
_DOTTED = re.compile(r"--[\w-]+\.[\w.-]+(?P<value>=.*)?", re.DOTALL)  # a member of an object, which does nothing here


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command line as the simulation takes it.

    Attributes:
        host, port: where to listen.
        model, name: the model's path, and what clients call it.
        given: the flags that were given, by canonical name; lists are left out.
        flags: those of them that make a difference to the simulation.

    """

    host: str
    port: int
    model: str
    name: str
    given: Mapping[str, Scalar] = field(default_factory=dict)
    flags: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """The longest sequence that was asked for, in tokens; 0 for the model's own. Raises TypeError for a word."""
        return max(Flags(self.given).whole(name, 0) for name in LENGTHS)


def read(engine: str, catalogue: Catalogue, argv: Sequence[str]) -> Asked:
    """The command line. Ends the process with code 2, as argparse does, for what the engine's parser would refuse."""
    parser = _parser(engine, catalogue)
    told = {name: value for name, value in vars(parser.parse_args(_without_members(argv))).items() if value is not None}
    name = told.get("served_model_name") or told.get("model_path") or told.get("model_tag")
    path = str(told.get("model_tag") or told.get("model_path") or "")
    given = {
        name: _plain(value)
        for name, value in told.items()
        if name not in NO_SETTING and isinstance(value, bool | int | float | str)
    }
    flags = {name: value for name, value in given.items() if name in known_flags(engine)}
    return Asked(
        host=str(told.get("host") or "127.0.0.1"),
        port=int(told.get("port") or 8000),
        model=path,
        name=str(name[0] if isinstance(name, list) else name or ""),
        given=given,
        flags=flags,
    )


def refuse(engine: str, why: str) -> NoReturn:
    """End the process as for a bad value: one that the engine may know, and the simulation does not."""
    flag, program = why.partition(" ")[0], PROGRAMS[engine]
    sys.stderr.write(f"usage: {program} [flags]\n{program}: error: argument {flag}: invalid value: simulated: {why}\n")
    raise SystemExit(2)


def _parser(engine: str, catalogue: Catalogue) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAMS[engine], usage=f"{PROGRAMS[engine]} [flags]", add_help=False, allow_abbrev=False
    )
    if engine == "vllm":
        parser.add_argument("model_tag", nargs="?")
    for flag in catalogue.flags:
        _add(parser, flag)
    return parser


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    if flag.type is FlagType.SWITCH:
        action = argparse.BooleanOptionalAction if flag.negatable else "store_true"
        parser.add_argument(*flag.spellings, dest=flag.name, action=action, default=None)
        return
    convert = TYPES.get(flag.type, str)
    parser.add_argument(
        *flag.spellings,
        dest=flag.name,
        type=convert,
        choices=[convert(choice) for choice in flag.choices] or None,
        nargs="+" if flag.many else None,
    )


def _without_members(argv: Sequence[str]) -> Iterator[str]:
    words = iter(argv)
    for word in words:
        dotted = _DOTTED.fullmatch(word)
        if dotted is None:
            yield word
        elif dotted["value"] is None:
            next(words, None)


def _plain(value: Scalar) -> Scalar:
    """A word that is a number as one: some flags take both words and numbers."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)", value):
        return float(value)
    return value
