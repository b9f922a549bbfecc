"""Why a configuration is not to be launched: small questions about one configuration, and how they are put together.

What asks them: the sampler before it gives a trial its parameters, the grid, `plan`, and the trial itself at last.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna_tuner.contracts import Engine
from optuna_tuner.spec.rules import broken
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Model, Params, Slot

Objection = Callable[[Params], str | None]  # why not, in one line for people; None where nothing speaks against it


def first_of(*objections: Objection) -> Objection:
    """All of them as one: the first reason counts, and those after it are not asked."""

    def ask(params: Params) -> str | None:
        return next((reason for objection in objections if (reason := objection(params)) is not None), None)

    return ask


NOTHING_KNOWN: Objection = first_of()


def remembered(objection: Objection) -> Objection:
    """The same, asked once of each configuration; for what does not change while a worker lives."""
    known: dict[str, str | None] = {}

    def ask(params: Params) -> str | None:
        if params.key not in known:
            known[params.key] = objection(params)
        return known[params.key]

    return ask


def study_rules(spec: StudySpec) -> Objection:
    """The rules that the user wrote."""

    def ask(params: Params) -> str | None:
        rule = broken(spec.rules, spec.values(params))
        return None if rule is None else f"rule: {rule.forbid}" + (f" ({rule.because})" if rule.because else "")

    return ask


def engine_rules(engine: Engine, model: Model, slot: Slot) -> Objection:
    """What the engine is known to refuse for this model on this slot."""

    def ask(params: Params) -> str | None:
        return engine.reject(model, params, slot)

    return ask


def known_bad(spec: StudySpec, engine: Engine, model: Model, slot: Slot) -> Objection:
    """All that is known against a configuration before anything was measured."""
    return first_of(study_rules(spec), engine_rules(engine, model, slot))
