"""Prints the arguments of the parser of `vllm serve` as JSON, and what it says of command lines.

Run by a Python that has vLLM, and by nothing else. Standard input is a JSON list of command lines.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import enum
import io
import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

KINDS = {"int": "int", "float": "float", "human_readable_int": "int", "loads": "json", "parse_dataclass": "json"}


def plain(value: object) -> object:
    """A value as it would be given on the command line."""
    if value is argparse.SUPPRESS:
        return None
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    return {} if dataclasses.is_dataclass(value) else value


def kind(reads: object) -> str:
    """What reads a word, without what wraps it."""
    names = getattr(getattr(reads, "__code__", None), "co_freevars", ())
    if "return_type" in names:
        cells = getattr(reads, "__closure__", ())
        return kind(cells[names.index("return_type")].cell_contents)
    return KINDS.get(getattr(reads, "__name__", ""), "text")


def row(action: argparse.Action) -> dict[str, object]:
    """One argument."""
    negatable = isinstance(action, argparse.BooleanOptionalAction)
    options = [each for each in action.option_strings if not (negatable and each.startswith("--no-"))]
    switch = negatable or action.nargs == 0
    several = action.nargs in {"+", "*"} or (isinstance(action.nargs, int) and not switch)
    return {
        "name": action.dest,
        "spellings": sorted(options, key=lambda each: not each.startswith("--")),
        "type": "switch" if switch else kind(action.type),
        "many": several,
        "choices": ["None" if each is None else plain(each) for each in action.choices or ()],
        "default": plain(action.default),
        "negatable": negatable,
    }


def refusal(parser: argparse.ArgumentParser, line: list[str]) -> str | None:
    """Why the parser does not take this command line; None where it does."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(line)
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    return None


def main() -> None:
    """Prints the version, where vLLM lies, the arguments, and what the parser says of each command line."""
    sys.argv = ["vllm", "serve", "--help=all"]
    parsers = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser().add_subparsers()
    parser = import_module("vllm.entrypoints.cli.serve").ServeSubcommand().subparser_init(parsers)
    actions = [each for each in parser._actions if each.option_strings and each.dest != "help"]
    folder = str(Path(import_module("vllm").__file__ or "").parent)
    found = {
        "version": version("vllm"),
        "folder": folder,
        "arguments": [row(each) for each in actions],
        "refusals": [refusal(parser, line) for line in json.load(sys.stdin)],
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
