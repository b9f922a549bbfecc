"""Why a configuration is not to be tried: small questions about one configuration, and how several are put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from optuna_tuner.spec.rules import broken
from optuna_tuner.spec.study import Rule, StudySpec, values_of
from optuna_tuner.values import Params, Scalar

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


def forbidden(rules: Sequence[Rule], fixed: Mapping[str, Scalar] | None = None) -> Objection:
    """What these rules forbid; they may also speak of the fixed flags."""

    def ask(params: Params) -> str | None:
        rule = broken(rules, {**(fixed or {}), **values_of(params)})
        return None if rule is None else f"rule: {rule.forbid}" + (f" ({rule.because})" if rule.because else "")

    return ask


def study_rules(spec: StudySpec) -> Objection:
    """The rules that the user wrote."""
    return forbidden(spec.rules, spec.fixed_flags)
