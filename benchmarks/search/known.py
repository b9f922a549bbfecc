"""What is known of a landscape's configurations before anything is launched: by the engine's real rules and guides."""

from __future__ import annotations

from typing import cast

from optuna_tuner.contracts import Engine
from optuna_tuner.memory.certainty import refusal
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.search.encoding import Estimates
from optuna_tuner.search.objection import Objection, first_of, remembered
from optuna_tuner.spec.study import Part
from optuna_tuner.tuning.estimates import memory_estimates
from optuna_tuner.tuning.objections import engine_rules
from optuna_tuner.values import Params
from search.landscape import Configuration, Landscape


def known_against(landscape: Landscape) -> Objection:
    """As a study would ask: the rules of this engine's version, and what certainly does not fit into memory.

    It knows nothing of the landscape's own truth.
    """
    engine = engine_of(landscape)
    ask = first_of(engine_rules(engine, landscape.model, landscape.slot), _memory(landscape, engine))
    return remembered(lambda params: ask(_written(params)))


def engine_of(landscape: Landscape) -> Engine:
    """The engine whose flags these are, in its exact version."""
    part = Part.model_validate({"kind": landscape.engine, "version": landscape.version, "flags": dict(landscape.fixed)})
    return cast("Engine", make(InstalledKinds(), "engines", part))


def estimates_of(landscape: Landscape, engine: Engine) -> Estimates:
    """What the memory model tells of configurations, as to a study's sampler."""
    known = None if landscape.facts is None or landscape.gpu is None else (landscape.facts, landscape.gpu)
    ask = memory_estimates(landscape.space, engine, lambda: known)
    return lambda configuration: ask(_without_none(configuration))


def _written(params: Params) -> Params:
    """As a command line has it: in a space, `none` stands for a flag that is not set."""
    return Params(flags=_without_none(params.flags))


def _without_none(flags: Configuration) -> Configuration:
    return {name: value for name, value in flags.items() if str(value).lower() != "none"}


def _memory(landscape: Landscape, engine: Engine) -> Objection:
    def ask(params: Params) -> str | None:
        said = engine.memory(params)
        if not said or landscape.facts is None or landscape.gpu is None:
            return None
        return refusal(landscape.facts, landscape.gpu.memory, *said)

    return ask
