"""Flags of a study file against the catalogue of exactly the engine's version: names, types, choices.

Environment variables are held only against those that are known to do nothing any more: a server takes any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from optuna_tuner.catalog.catalogue import Catalogue, Flag, FlagType
from optuna_tuner.catalog.history import absence, idle_variable
from optuna_tuner.spec.draft import Draft
from optuna_tuner.spec.faults import one_of, show
from optuna_tuner.spec.shapes import did_you_mean
from optuna_tuner.spec.space import Choice, Float, Int, Parameter, Switch
from optuna_tuner.spec.yaml_nodes import Path
from optuna_tuner.values import Json, Scalar

# Engines take more than digits for a number: 8k, 1.5Gi, auto.
_NUMBER = re.compile(r"[+-]?\d.*|auto")
MOST_CHOICES = 30  # that a message lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A flag that this version does not take. `new_name` is its name there, where only the name has changed."""

    path: Path
    message: str
    at_key: bool = False
    new_name: str = ""


def findings(draft: Draft, catalogue: Catalogue) -> Iterator[Finding]:
    """Every flag, fixed or sampled, that this version's parser would refuse, and every variable that does nothing."""
    for name, value in draft.option("engine", "flags").items():
        yield from _fixed(catalogue, ("engine", "flags", name), value)
    for name in draft.option("engine", "env"):
        yield from _variable(catalogue, ("engine", "env", name))
    for name in draft.declared:
        parameter = draft.space.get(name)
        if parameter is not None:
            path = ("space", name)
            yield from _variable(catalogue, path) if parameter.env else _sampled(catalogue, path, parameter)


def _fixed(catalogue: Catalogue, path: Path, value: Json) -> Iterator[Finding]:
    name = str(path[-1])
    flag = catalogue.find(name.partition(".")[0])
    if flag is None:
        found = _missing(catalogue, path)
        new = catalogue.find(found.new_name)
        yield replace(found, new_name="") if isinstance(value, list) and new and not new.many else found
    elif "." in name:
        yield from _dotted(flag, path)
    elif isinstance(value, bool | int | float | str):
        reason = refusal(flag, value)
        if reason:
            yield Finding(path=path, message=reason)


def _sampled(catalogue: Catalogue, path: Path, parameter: Parameter) -> Iterator[Finding]:
    name = str(path[-1])
    flag = catalogue.find(name.partition(".")[0])
    if flag is None:
        yield _missing(catalogue, path)
    elif "." in name:
        yield from _dotted(flag, path)
    elif isinstance(parameter, Choice):
        reasons = ((index, refusal(flag, value)) for index, value in enumerate(parameter.choices))
        yield from (Finding(path=(*path, "choices", index), message=reason) for index, reason in reasons if reason)
    else:
        reason = refusal(flag, _example(parameter))
        if reason:
            yield Finding(path=(*path, "type"), message=reason)


def _variable(catalogue: Catalogue, path: Path) -> Iterator[Finding]:
    reason = idle_variable(catalogue, str(path[-1]))
    if reason:
        yield Finding(path=path, message=reason, at_key=True)


def _missing(catalogue: Catalogue, path: Path) -> Finding:
    """Why there is no such flag, and what to write instead: its new name, else the nearest."""
    name = str(path[-1]).partition(".")[0]
    why = absence(catalogue, name)
    hint = (
        "" if why.new_name or ";" in why.reason else did_you_mean(name.lstrip("-").replace("-", "_"), catalogue.names())
    )
    return Finding(path=path, message=why.reason + hint, at_key=True, new_name=why.new_name)


def _dotted(flag: Flag, path: Path) -> Iterator[Finding]:
    if flag.type is not FlagType.JSON:
        yield Finding(path=path, message=f"{flag.spellings[0]} is no object: it takes no dotted names", at_key=True)


def _example(parameter: Int | Float | Switch) -> Scalar:
    """A value that shows what sort the parameter has; a range of floats has one that is no whole number."""
    if isinstance(parameter, Switch):
        return False
    return parameter.low if isinstance(parameter, Int) else parameter.low + 0.5


def refusal(flag: Flag, value: Scalar) -> str:
    """Why the parser would refuse this word; empty where it would not, or where that is not known."""
    option = flag.spellings[0]
    if flag.type is FlagType.SWITCH:
        return "" if isinstance(value, bool) else f"{option} takes no word: write true or false, not {show(value)}"
    if isinstance(value, bool):
        return "" if _has_words(flag) else f"{option} takes a word, not {show(value)}"
    if flag.choices:
        return _refused_choice(flag, value)
    if flag.type is FlagType.INT and isinstance(value, float):
        return f"{option} takes whole numbers"
    if flag.type in {FlagType.INT, FlagType.FLOAT} and isinstance(value, str) and not _NUMBER.fullmatch(value):
        return f"{option} takes a number, not {show(value)}"
    return ""


def _has_words(flag: Flag) -> bool:
    """Whether it has words for true and false, or may have."""
    words = {str(choice).lower() for choice in flag.choices}
    known = {"on", "off"} <= words or {"true", "false"} <= words
    return known or (not words and flag.type in {FlagType.TEXT, FlagType.JSON})


def _refused_choice(flag: Flag, value: Scalar) -> str:
    known = [str(choice) for choice in flag.choices]
    if str(value) in known:
        return ""
    hint = did_you_mean(str(value), known)
    listed = f"; it takes {one_of(known)}" if len(known) <= MOST_CHOICES else ""
    return f"{flag.spellings[0]} does not take {show(value)}{hint or listed}"
