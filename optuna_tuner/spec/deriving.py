"""The study that measures one configuration of an older study again, perhaps with a newer engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from optuna_tuner.contracts import Kinds
from optuna_tuner.spec.files import read_content
from optuna_tuner.spec.mending import mend
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.spec.writing import to_yaml
from optuna_tuner.spec.yaml_nodes import read_tree
from optuna_tuner.values import Scalar

Content = dict[str, JsonValue]

# What an older study says of its search, and what no configuration of it needs any more.
OF_THE_SEARCH = frozenset(
    {
        "first",
        "warm_start",
        "prior",
        "rules",
        "sampler",
        "pruner",
        "baseline",
        "baseline_every",
        "confirm",
        "gate",
        "rerun",
    }
)
# Nothing is searched, and a server that is the same as another one is measured all the same.
SAMPLER: Content = {"kind": "random", "measure_again": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEngine:
    """What is new about the engine. None leaves it as it was.

    A new image or command without a version is held against the flags of what it turns out to be.
    """

    version: str | None = None
    image: str | None = None
    command: tuple[str, ...] | None = None


AS_IT_WAS = NewEngine()


def derive(
    older: StudySpec, name: str, params: Mapping[str, Scalar], added: Content, engine: NewEngine, kinds: Kinds
) -> StudySpec:
    """A study of this name whose space holds these parameters and no others; `added` are sections of its own.

    Without parameters it is of the engine's own default alone. Flags that have another name in the engine's version get
    it. Raises SpecError for what that version does not take.
    """
    kept = older.model_dump(mode="json", exclude_defaults=True)
    base: Content = {key: value for key, value in kept.items() if key not in OF_THE_SEARCH}
    trials = bool(params) + (added.get("baseline") is not False)
    base |= {"sampler": {**SAMPLER}, "budget": _budget(older, trials), **_engine(base, engine)}
    if params:
        base["space"] = _single(older, params)
    tree = read_tree(mend(to_yaml(StudySpec.model_validate(base)), name, kinds).text, name).value
    found: Content = tree if isinstance(tree, dict) else {}
    first: Content = {"first": [_only(found["space"])]} if params else {}
    return read_content({**found, **first, **added, "name": name}, name, kinds)


def _budget(older: StudySpec, trials: int) -> Content:
    """So many trials, within the older one's limits in time."""
    return {"trials": trials, **older.budget.model_dump(exclude_none=True, include={"wall_time_s", "gpu_time_s"})}


def _single(older: StudySpec, params: Mapping[str, Scalar]) -> Content:
    """Each parameter with the one value that it has."""
    variables = {name for name, parameter in older.space.items() if parameter.env}
    return {
        name: {"type": "choice", "choices": [value], **({"env": True} if name in variables else {})}
        for name, value in params.items()
    }


def _only(space: JsonValue) -> Content:
    """The one configuration of such a space, by the names that it has by now."""
    parameters = space if isinstance(space, dict) else {}
    found: Content = {}
    for name, parameter in parameters.items():
        choices = parameter.get("choices") if isinstance(parameter, dict) else None
        found[name] = choices[0] if isinstance(choices, list) else None
    return found


def _engine(base: Content, new: NewEngine) -> Content:
    """The sections that a newer engine changes. A deployer with an image of its own gets the new one there."""
    engine, deployer = base.get("engine"), base.get("deployer")
    changed: Content = {**engine} if isinstance(engine, dict) else {}
    found: Content = {"engine": changed}
    if new.image is not None or new.command is not None:
        changed.pop("version", None)
    if new.version is not None:
        changed["version"] = new.version
    if new.command is not None:
        changed["command"] = list(new.command)
    if new.image is not None:
        own = _with_image(deployer, new.image) if isinstance(deployer, dict) else None
        if own is None:
            changed["image"] = new.image
        else:
            found["deployer"] = own
    return found


def _with_image(options: Content, image: str) -> Content | None:
    """With the new image where it names one, by itself or in a section; None where it names none."""
    if "image" in options:
        return {**options, "image": image}
    for name, section in options.items():
        if isinstance(section, dict) and "image" in section:
            return {**options, name: {**section, "image": image}}
    return None
