"""What became of a flag from version to version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Flag, plain
from optuna_tuner.catalog.notes import idle_variables, renames


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Why a version does not have a flag, for people; and the flag's name in this version, where it has one."""

    reason: str
    new_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changed between two versions. The pairs of `changed` are the same flag before and after."""

    added: tuple[Flag, ...]
    gone: tuple[Flag, ...]
    changed: tuple[tuple[Flag, Flag], ...]


def absence(catalogue: Catalogue, written: str) -> Absence:
    """Why this version does not have the flag that somebody wrote."""
    name = plain(written)
    rename = renames(catalogue.engine).get(name)
    had = having(catalogue.engine, name)
    reason = _when(catalogue, had)
    if rename is None:
        return Absence(reason=reason)
    new = catalogue.find(rename.new_name) if rename.new_name else None
    if new is None:
        return Absence(reason=f"{reason}; {rename.advice}" if rename.advice else reason)
    return Absence(reason=f"{reason}; now {new.spellings[0]}", new_name=new.name)


def idle_variable(catalogue: Catalogue, name: str) -> str:
    """Why an environment variable does nothing in this version; empty where that is not known."""
    idle = idle_variables(catalogue.engine).get(name)
    if idle is None or shelf.order(catalogue.version) < shelf.order(idle.since):
        return ""
    return f"does nothing in {catalogue.engine} {catalogue.version}: not read since {idle.since}; {idle.advice}"


def having(engine: str, written: str) -> Sequence[str]:
    """The versions that have a flag under this name, oldest first."""
    name = plain(written)
    marks = [f'"name": {json.dumps(name)}', *(json.dumps(dashes + name.replace("_", "-")) for dashes in ("--", "-"))]
    return [version for version, text in shelf.texts(engine) if any(mark in text for mark in marks)]


def difference(old: Catalogue, new: Catalogue) -> Difference:
    """What the newer one has more, has no more, and has otherwise."""
    before, after = ({flag.name: flag for flag in each.flags} for each in (old, new))
    return Difference(
        added=tuple(flag for name, flag in after.items() if name not in before),
        gone=tuple(flag for name, flag in before.items() if name not in after),
        changed=tuple((before[name], flag) for name, flag in after.items() if name in before and before[name] != flag),
    )


def _when(catalogue: Catalogue, had: Sequence[str]) -> str:
    """`gone since 0.20.0 (0.5.1 to 0.19.1 have it)`, `comes with 0.12.0`, or that no version has it."""
    here = shelf.order(catalogue.version)
    earlier = [each for each in had if shelf.order(each) < here]
    later = [each for each in had if shelf.order(each) > here]
    if earlier:
        return f"is gone from {catalogue.engine} {catalogue.version}; the last with it was {earlier[-1]}"
    if later:
        return f"is not in {catalogue.engine} {catalogue.version}; it came with {later[0]}"
    return f"is no flag of {catalogue.engine} {catalogue.version}, nor of any other version that is known"
