"""Why a configuration is not to be launched: what the user, the engine and the memory model have against it.

What asks them: the sampler before it gives a trial its parameters, the grid, `plan`, and the trial itself at last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from optuna_tuner.contracts import Engine
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory import facts
from optuna_tuner.memory.certainty import refusal
from optuna_tuner.memory.gpus import MIB
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.search.objection import Objection, first_of, study_rules
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning import gpus
from optuna_tuner.values import Model, Params, Slot

if TYPE_CHECKING:
    from optuna_tuner.tuning.setting import Parts  # at run time it would bring a database, which `validate` needs not


def engine_rules(engine: Engine, model: Model, slot: Slot) -> Objection:
    """What the engine is known to refuse for this model on this slot."""

    def ask(params: Params) -> str | None:
        return engine.reject(model, params, slot)

    return ask


def memory_limit(engine: Engine, model: Model, largest_mib: Callable[[], int | None]) -> Objection:
    """What certainly does not fit into the GPUs' memory.

    The model's files, and then the GPUs, are looked at once, when the first configuration is asked about of which the
    engine knows what it says of memory; `largest_mib` gives the memory of the largest GPU, where it is known.
    """

    @cache
    def looked_up() -> tuple[ModelFacts, int] | None:
        try:
            known = facts.read(model.path)
            mib = largest_mib()
        except EnvironmentFaultError:
            return None
        return None if mib is None else (known, mib * MIB)

    def ask(params: Params) -> str | None:
        said = engine.memory(params)
        known = looked_up() if said else None
        return refusal(*known, *said) if said and known else None

    return ask


def known_bad(spec: StudySpec, parts: Parts, model: Model, slot: Slot) -> Objection:
    """All that is known against a configuration before anything was measured.

    The slot's GPUs are the server's only where the deployer starts it on this host.
    """
    rules = study_rules(spec), engine_rules(parts.engine, model, slot)
    if not parts.deployer.host_bound or not slot.gpus:
        return first_of(*rules)
    return first_of(*rules, memory_limit(parts.engine, model, partial(gpus.largest_mib, slot.gpus)))
