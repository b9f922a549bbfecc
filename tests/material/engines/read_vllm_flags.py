"""Writes the names of vLLM's flags as its own argument parser has them. Run it with the Python that holds vLLM.

/path/to/vllm-environment/bin/python tests/material/engines/read_vllm_flags.py tests/material/engines/vllm-flags.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

KINDS = ("switches", "two_way", "values")
MAKERS = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")


def parser() -> argparse.ArgumentParser:
    """`vllm serve`'s parser; its module moved between versions."""
    empty = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser()
    for maker in MAKERS:
        try:
            made: argparse.ArgumentParser = importlib.import_module(maker).make_arg_parser(empty)
        except ModuleNotFoundError:
            continue
        return made
    raise SystemExit("this vLLM keeps its argument parser elsewhere")


def read() -> dict[str, object]:
    """All flags by kind, and the aliases."""
    flags: dict[str, set[str]] = {kind: set() for kind in KINDS}
    aliases: dict[str, str] = {}
    for action in parser()._actions:
        options = [option for option in action.option_strings if not option.startswith("--no-")]
        if not options:
            continue
        name = next((option for option in options if option.startswith("--")), options[0])
        two_way = isinstance(action, argparse.BooleanOptionalAction)
        kind = "two_way" if two_way else "values" if action.nargs != 0 else "switches"
        flags[kind].add(_bare(name))
        aliases |= {_bare(option): _bare(name) for option in options if option != name}
    version = importlib.import_module("vllm").__version__
    return {
        "version": version,
        **{kind: sorted(flags[kind]) for kind in KINDS},
        "aliases": dict(sorted(aliases.items())),
    }


def _bare(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(read(), indent=0) + "\n", encoding="utf-8")
