"""A study file whose flags have other names in its engine's version gets the new ones. Everything else stays."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from optuna_tuner.catalog.catalogue import plain
from optuna_tuner.contracts import Kinds
from optuna_tuner.spec.catalogued import findings
from optuna_tuner.spec.draft import draft_of
from optuna_tuner.spec.files import read_text
from optuna_tuner.spec.parts import make_plugins
from optuna_tuner.spec.yaml_nodes import Place, Tree, read_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """The new text, and each name that was changed: as it was written -> as it is written now."""

    text: str
    renamed: Mapping[str, str]


def mend_file(path: Path, kinds: Kinds) -> Mapping[str, str]:
    """Rewrite a study file; what was renamed. It is the old file or the new one, never a part of it.

    Raises SpecError where it cannot be read, and OSError where it cannot be written.
    """
    mended = mend(read_text(path), str(path), kinds)
    if mended.renamed:
        _replace(path.resolve(), mended.text)
    return mended.renamed


def _replace(path: Path, text: str) -> None:
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        shutil.copymode(path, draft)
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise


def mend(text: str, file_name: str, kinds: Kinds) -> Mended:
    """Give renamed flags their new names, in the style in which they were written.

    Flags of the engine, parameters, and what conditions and rules say of them. What has no new name is left for the
    user. Raises SpecError where the text is no YAML.
    """
    tree = read_tree(text, file_name)
    draft = draft_of(tree)
    engine = make_plugins(draft, kinds).engine
    catalogue = engine.catalogue() if engine is not None else None
    renames = (
        {str(each.path[-1]): each.new_name for each in findings(draft, catalogue) if each.new_name} if catalogue else {}
    )
    lines = text.splitlines(keepends=True)
    for line, column in sorted(_places(tree), reverse=True):  # from the end, so that no earlier place moves
        for old, new in renames.items():
            lines[line - 1] = lines[line - 1][: column - 1] + _renamed(lines[line - 1][column - 1 :], old, new)
    return Mended(text="".join(lines), renamed={old: _styled(old, new) for old, new in renames.items()})


def _places(tree: Tree) -> set[Place]:
    """Where the file speaks of flags: keys of flags, parameters and conditions, and the text of rules."""
    keys = {place for path, place in tree.keys.items() if _is_flag(path)}
    rules = {place for path, place in tree.values.items() if path[:1] == ("rules",) and path[-1:] == ("forbid",)}
    return keys | rules


def _is_flag(path: tuple[str | int, ...]) -> bool:
    match path:
        case ("engine", "flags", _) | ("space", _) | ("space", _, "when", _):
            return True
    return False


def _renamed(rest: str, old: str, new: str) -> str:
    """The rest of a line from a key or a rule on. A key is only its first word; a rule may name the flag again."""
    words = "|".join(re.escape(style) for style in sorted(_styles(old), key=len, reverse=True))
    return re.sub(rf"(?<![\w-])({words})(?![\w-])", lambda found: _styled(found[1], new), rest)


def _styles(name: str) -> set[str]:
    bare = plain(name)
    return {name, bare, bare.replace("_", "-"), f"--{bare.replace('_', '-')}"}


def _styled(written: str, new: str) -> str:
    """A name with the dashes of the one in whose place it comes."""
    dashes = written[: len(written) - len(written.lstrip("-"))]
    return dashes + (new if "_" in written.lstrip("-") or "-" not in written.lstrip("-") else new.replace("_", "-"))
