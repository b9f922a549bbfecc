"""Checks of the configurations that a study tries first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optuna_tuner.errors import Fault
from optuna_tuner.spec.draft import Draft
from optuna_tuner.spec.faults import one_of, show
from optuna_tuner.spec.rules import RuleError, broken
from optuna_tuner.spec.shapes import did_you_mean
from optuna_tuner.spec.space import Choice, Parameter, Switch, flag_name, written_in
from optuna_tuner.spec.yaml_nodes import Path
from optuna_tuner.values import Json, Scalar


def check_first(draft: Draft) -> Iterator[Fault]:
    """What cannot be tried: strange parameters, values outside their range, and what a rule of the study forbids."""
    given = draft.tree.at(("first",))
    space = {name if each.env else flag_name(name): each for name, each in draft.space.items()}
    seen: dict[int, Mapping[str, Scalar]] = {}
    for index, each in enumerate(given if isinstance(given, list) else []):
        if not isinstance(each, dict):
            continue
        path: Path = ("first", index)
        faults = list(_check_values(draft, path, each, space))
        yield from faults
        values = {name: value for name, value in each.items() if isinstance(value, bool | int | float | str)}
        if not faults and len(values) == len(each):
            chosen = written_in(space, values)
            yield from _check_whole(draft, path, chosen, space)
            twin = next((place for place, other in seen.items() if other == chosen), None)
            if twin is not None:
                yield draft.tree.fault(path, f"the same as first[{twin}]; keep one of them")
            seen[index] = chosen


def _check_values(
    draft: Draft, path: Path, given: Mapping[str, Json], space: Mapping[str, Parameter]
) -> Iterator[Fault]:
    if not given:
        yield draft.tree.fault(path, "is empty; the engine's own default is the baseline")
    written: dict[str, str] = {}
    known = {name if name in draft.space and draft.space[name].env else flag_name(name) for name in draft.declared}
    for name, value in given.items():
        kept = name if name in known else flag_name(name)
        if kept in written:
            message = f"the same flag as {show(written[kept])}; keep one of them"
            yield draft.tree.fault((*path, name), message, at_key=True)
        elif kept not in known:
            hint = did_you_mean(kept, known)
            yield draft.tree.fault((*path, name), f"no such parameter in space{hint}", at_key=True)
        elif kept in space and isinstance(value, bool | int | float | str) and not space[kept].takes(value):
            message = f"{kept} never has the value {show(value)}; it takes {_domain(space[kept])}"
            yield draft.tree.fault((*path, name), message)
        written[kept] = name


def _domain(parameter: Parameter) -> str:
    if isinstance(parameter, Choice | Switch):
        return one_of(show(value) for value in parameter.values())
    step = "" if parameter.step in {None, 1} else f" in steps of {parameter.step}"
    return f"{parameter.low} to {parameter.high}{step}"


def _check_whole(
    draft: Draft, path: Path, chosen: Mapping[str, Scalar], space: Mapping[str, Parameter]
) -> Iterator[Fault]:
    for name in chosen:
        for other, wanted in space[name].conditions().items():
            if chosen.get(other) not in wanted:
                message = f"{name} is only sampled when {other} is {one_of(map(show, wanted))}; say so too"
                yield draft.tree.fault(path, message)
    try:
        rule = broken(draft.rules.values(), {**draft.fixed_flags(), **chosen})
    except RuleError:
        return  # told where the rule stands
    if rule is not None:
        yield draft.tree.fault(path, f"is forbidden by a rule: {rule.forbid}")
