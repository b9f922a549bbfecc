"""What the engine has for the sampled flags that a trial leaves to it: where the baseline lies in the space."""

from __future__ import annotations

from collections.abc import Mapping

from optuna_tuner.contracts import Engine
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Scalar


def default_of(spec: StudySpec, engine: Engine) -> Mapping[str, Scalar]:
    """By parameter: the study's fixed flag, else the catalogue's default; without those that are not known."""
    catalogue = engine.catalogue()
    found: dict[str, Scalar] = {}
    for name, parameter in spec.space.items():
        if parameter.env:
            continue
        if name in spec.fixed_flags:
            found[name] = spec.fixed_flags[name]
            continue
        flag = catalogue.find(engine.canonical(name)) if catalogue else None
        if flag is not None and isinstance(flag.default, bool | int | float | str):
            found[name] = flag.default
    return found
