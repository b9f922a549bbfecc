"""Reads the names of SGLang's flags out of a released wheel, without running or importing any of it.

pip download sglang==0.5.23 --no-deps -d /tmp/wheel
python tests/material/engines/read_sglang_flags.py /tmp/wheel/sglang-*.whl > tests/material/engines/sglang-flags.json
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

FIELDS = "sglang/srt/arg_groups/fields/"
BY_HAND = re.compile(r'parser\.add_argument\(\s*"--([\w-]+)",(.*?)help=', re.DOTALL)
KINDS = ("switches", "two_way", "values")


def declared(source: str) -> Iterator[tuple[str, str, list[str]]]:
    """For each `name: A[type, Arg(...)] = default`: the flag, its kind and its aliases."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Subscript)):
            continue
        marker, inside = ast.unparse(node.annotation.value), node.annotation.slice
        if marker != "A" or not isinstance(inside, ast.Tuple) or not isinstance(node.target, ast.Name):
            continue
        kind_of_value, meta = inside.elts[:2]
        words = {word.arg: word.value for word in meta.keywords} if isinstance(meta, ast.Call) else {}
        if isinstance(meta, ast.Call) and ast.unparse(meta.func) != "Arg":
            continue
        if "no_cli" in words:
            continue
        name = ast.literal_eval(words["cli_name"]) if "cli_name" in words else node.target.id
        aliases = ast.literal_eval(words["aliases"]) if "aliases" in words else []
        yield (
            name,
            _kind(ast.unparse(kind_of_value), ast.unparse(words["action"]) if "action" in words else ""),
            aliases,
        )


def _kind(annotation: str, action: str) -> str:
    if "BooleanOptionalAction" in action:
        return "two_way"
    return "switches" if annotation in {"bool", "Optional[bool]"} and not action else "values"


def _bare(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def read(wheel: Path) -> dict[str, object]:
    """All flags of the wheel, by kind, and the aliases."""
    flags: dict[str, set[str]] = {kind: set() for kind in KINDS}
    aliases: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith(FIELDS) and member.endswith(".py"):
                for name, kind, others in declared(archive.read(member).decode()):
                    flags[kind].add(_bare(name))
                    aliases |= {_bare(other): _bare(name) for other in others}
        for name, rest in BY_HAND.findall(archive.read("sglang/srt/server_args.py").decode()):
            flags["switches" if "store_true" in rest or "StoreTrue" in rest else "values"].add(_bare(name))
    version = wheel.name.split("-")[1]
    return {
        "version": version,
        **{kind: sorted(flags[kind]) for kind in KINDS},
        "aliases": dict(sorted(aliases.items())),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read(Path(sys.argv[1])), indent=0) + "\n")
