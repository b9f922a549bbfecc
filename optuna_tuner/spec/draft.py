"""The sound pieces of a study file, so that one fault does not hide the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from optuna_tuner.spec.goals import Constraint, RequestSloSpec
from optuna_tuner.spec.prior import Prior
from optuna_tuner.spec.quality import Quality
from optuna_tuner.spec.sampler import Pruner, Sampler
from optuna_tuner.spec.space import Parameter, flag_name
from optuna_tuner.spec.study import Part, Rule, StudySpec
from optuna_tuner.spec.yaml_nodes import Path, Tree
from optuna_tuner.values import Json, Scalar

Piece = TypeVar("Piece", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What could be read of a study file; what could not is left out, and has its faults already."""

    tree: Tree
    parts: Mapping[str, Part]  # "engine", "deployer", "benchmark"
    space: Mapping[str, Parameter]  # by name as written
    declared: tuple[str, ...]  # all parameters by name as written, in order, sound or not
    rules: Mapping[int, Rule]
    metrics: Mapping[Path, str]  # where a goal names a metric, and which; sound or not
    request_slo: RequestSloSpec
    constraints: Mapping[int, Constraint]
    sampler: Sampler
    pruner: Pruner
    quality: Quality | None  # None: it is not there, or cannot be read
    prior: Prior | None  # likewise

    def option(self, part: str, name: str) -> Mapping[str, Json]:
        """An option of a part that is a mapping, such as the engine's flags; empty where it is none."""
        return _mapping(self.tree.at((part, name)))

    def fixed_flags(self) -> Mapping[str, Scalar]:
        """The engine's fixed flags, by name with underscores."""
        flags = self.option("engine", "flags").items()
        return {flag_name(name): value for name, value in flags if isinstance(value, bool | int | float | str)}


def draft_of(tree: Tree) -> Draft:
    """Read what can be read."""
    space = _mapping(tree.at(("space",)))
    parts = {name: _piece(Part, tree.at((name,))) for name in ("engine", "deployer", "benchmark")}
    if tree.at(("deployer",)) is None:
        parts["deployer"] = StudySpec.model_fields["deployer"].get_default(call_default_factory=True)
    return Draft(
        tree=tree,
        parts={name: part for name, part in parts.items() if part is not None},
        space={name: found for name, value in space.items() if (found := _parameter(value)) is not None},
        declared=tuple(space),
        rules=_each(Rule, tree, ("rules",)),
        metrics={**_metrics(tree, ("goals", "objectives")), **_metrics(tree, ("goals", "constraints"))},
        request_slo=_piece(RequestSloSpec, tree.at(("goals", "request_slo"))) or RequestSloSpec(),
        constraints=_each(Constraint, tree, ("goals", "constraints")),
        sampler=_piece(Sampler, tree.at(("sampler",))) or Sampler(),
        pruner=_piece(Pruner, tree.at(("pruner",))) or Pruner(),
        quality=_piece(Quality, tree.at(("quality",))),
        prior=_piece(Prior, tree.at(("prior",))),
    )


def _piece(model: type[Piece], value: Json) -> Piece | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _each(model: type[Piece], tree: Tree, path: Path) -> Mapping[int, Piece]:
    value = tree.at(path)
    items = enumerate(value if isinstance(value, list) else [])
    return {index: found for index, item in items if (found := _piece(model, item)) is not None}


def _metrics(tree: Tree, path: Path) -> Mapping[Path, str]:
    value = tree.at(path)
    places: list[Path] = [(*path, index, "metric") for index in range(len(value) if isinstance(value, list) else 0)]
    return {place: metric for place in places if isinstance(metric := tree.at(place), str)}


@cache
def _parameters() -> TypeAdapter[Parameter]:
    return TypeAdapter(Parameter)


def _parameter(value: Json) -> Parameter | None:
    try:
        return _parameters().validate_python(value)
    except ValidationError:
        return None


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
