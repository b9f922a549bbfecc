"""Checks of names and values of flags and environment variables, fixed and sampled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from optuna_tuner.contracts import Engine
from optuna_tuner.errors import Fault
from optuna_tuner.spec.draft import Draft
from optuna_tuner.spec.faults import show
from optuna_tuner.spec.shapes import did_you_mean
from optuna_tuner.spec.space import Choice, Parameter, flag_name
from optuna_tuner.spec.yaml_nodes import Path
from optuna_tuner.values import Json

_FLAG = re.compile(r"(--?)?[A-Za-z][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE = re.compile(r"PATH|LD_.*|DYLD_.*|PYTHON.*|BASH_ENV|ENV|IFS")
_OURS = re.compile(r"CUDA_VISIBLE_DEVICES|NVIDIA_VISIBLE_DEVICES|OPTUNA_TUNER_.*")


def check_flags(draft: Draft, engine: Engine | None) -> Iterator[Fault]:
    """Names that no program understands or that are dangerous, values that cannot be an argument, double flags."""
    for name, value in draft.option("engine", "flags").items():
        yield from _check_flag(draft, ("engine", "flags", name), value)
    for table in ("env", "secrets"):
        for name, value in draft.option("engine", table).items():
            yield from _check_variable(draft, ("engine", table, name), value)
    for name in draft.declared:
        parameter = draft.space.get(name)
        if parameter is not None:
            check = _check_variable if parameter.env else _check_flag
            yield from check(draft, ("space", name), None)
            yield from _check_choices(draft, name, parameter)
    yield from _check_model(draft)
    yield from _check_twice(draft, engine)


def check_when(draft: Draft) -> Iterator[Fault]:
    """Conditions on parameters that do not exist, come later, or cannot have the value."""
    names = [flag_name(name) for name in draft.declared]
    sound = {flag_name(name): parameter for name, parameter in draft.space.items()}
    for index, written in enumerate(draft.declared):
        wants = draft.tree.at(("space", written, "when"))
        for other, want in (wants if isinstance(wants, dict) else {}).items():
            path: Path = ("space", written, "when", other)
            if flag_name(other) not in names:
                hint = did_you_mean(flag_name(other), names)
                yield draft.tree.fault(path, f"no such parameter in space{hint}", at_key=True)
            elif flag_name(other) not in names[:index]:
                yield draft.tree.fault(path, "must be declared before the parameter that depends on it", at_key=True)
            elif flag_name(other) in sound:
                yield from _check_wanted(draft, path, sound[flag_name(other)], want)


def _check_wanted(draft: Draft, path: Path, parent: Parameter, want: Json) -> Iterator[Fault]:
    places = [((*path, index), value) for index, value in enumerate(want)] if isinstance(want, list) else [(path, want)]
    if not places:
        yield draft.tree.fault(path, "must not be empty; the parameter would never be sampled")
    for place, value in places:
        if isinstance(value, bool | int | float | str) and not parent.takes(value):
            yield draft.tree.fault(place, f"{path[-1]} never has the value {show(value)}")


def _check_flag(draft: Draft, path: Path, value: Json) -> Iterator[Fault]:
    if not _FLAG.fullmatch(str(path[-1])):
        message = "is no flag name; it begins with a letter and has letters, digits, and any of _.-"
        yield draft.tree.fault(path, message, at_key=True)
    yield from _check_text(draft, path, value)


def _check_variable(draft: Draft, path: Path, value: Json) -> Iterator[Fault]:
    name = str(path[-1])
    if not _VARIABLE.fullmatch(name):
        message = "is no name of an environment variable; it has letters, digits and _, and begins with no digit"
        yield draft.tree.fault(path, message, at_key=True)
    elif _CODE.fullmatch(name):
        yield draft.tree.fault(path, "may not be set here: it changes which code the server runs", at_key=True)
    elif _OURS.fullmatch(name):
        yield draft.tree.fault(path, "may not be set here: the tuner sets it for each worker", at_key=True)
    yield from _check_text(draft, path, value)


def _check_choices(draft: Draft, name: str, parameter: Parameter) -> Iterator[Fault]:
    for index, value in enumerate(parameter.choices if isinstance(parameter, Choice) else ()):
        yield from _check_text(draft, ("space", name, "choices", index), value)


def _check_model(draft: Draft) -> Iterator[Fault]:
    model = draft.tree.at(("model",))
    for name, value in (model if isinstance(model, dict) else {}).items():
        yield from _check_text(draft, ("model", name), value)


def _check_text(draft: Draft, path: Path, value: Json) -> Iterator[Fault]:
    if isinstance(value, str) and re.search(r"[\n\r\0]", value):
        yield draft.tree.fault(path, "must not contain a line break")


def _check_twice(draft: Draft, engine: Engine | None) -> Iterator[Fault]:
    """One flag under two names, or fixed and sampled at once. Aliases are known where the engine is."""
    seen: dict[str, Path] = {}
    fixed: list[Path] = [("engine", "flags", name) for name in draft.option("engine", "flags")]
    sampled: list[Path] = [("space", name) for name in draft.declared if not _is_env(draft.space.get(name))]
    for path in fixed + sampled:
        name = _canonical(str(path[-1]), engine)
        if name not in seen:
            seen[name] = path
        elif path[0] == "space" and seen[name][0] == "engine":
            message = f"is fixed in engine.flags as {show(seen[name][-1])}; a flag is fixed or sampled, not both"
            yield draft.tree.fault(path, message, at_key=True)
        else:
            yield draft.tree.fault(path, f"the same flag as {show(seen[name][-1])}; keep one of them", at_key=True)
    yield from _check_variables_twice(draft)


def _check_variables_twice(draft: Draft) -> Iterator[Fault]:
    fixed: Mapping[str, Json] = {**draft.option("engine", "env"), **draft.option("engine", "secrets")}
    for name, parameter in draft.space.items():
        if parameter.env and name in fixed:
            message = "is fixed in the engine's env or secrets; a variable is fixed or sampled, not both"
            yield draft.tree.fault(("space", name), message, at_key=True)


def _is_env(parameter: Parameter | None) -> bool:
    return parameter is not None and parameter.env


def _canonical(name: str, engine: Engine | None) -> str:
    return engine.canonical(name) if engine is not None else flag_name(name)
