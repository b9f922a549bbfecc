"""Known objections as constraints of the sampler: what cannot run is drawn again, and costs no trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optuna_tuner.search.objection import Objection
from optuna_tuner.search.one_by_one import OneByOne
from optuna_tuner.search.repair import repaired
from optuna_tuner.spec.space import Parameter, suggest
from optuna_tuner.store.records import Choice
from optuna_tuner.values import Scalar

DRAWS = 32  # where one draw in ten is allowed, 97 % of the trials find one
FAVOURITES = 4  # of them from the sampler itself
REASONS = 5  # kept of what was passed over, each once


class Redrawing(OneByOne):
    """Draws whole configurations from another sampler until one has nothing against it.

    So it samples from the other's own distribution, under the condition that the configuration is allowed. Where it has
    given none in `FAVOURITES` draws, a looser one is asked, up to `DRAWS` in all. Where none of them is allowed, the
    first one is mended by moving one parameter, and where that cannot be done it is given as it is, for the trial to be
    refused with its reason. `choice` tells what happened.
    """

    def __init__(
        self, base: BaseSampler, loose: BaseSampler, space: Mapping[str, Parameter], objection: Objection
    ) -> None:
        self._base, self._loose, self._space, self._objection = base, loose, space, objection
        self._drawn: Mapping[str, Scalar] = {}
        self.choice = Choice()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Let the other sampler prepare."""
        self._drawn = {}
        self._base.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Let the other sampler know."""
        self._base.after_trial(study, trial, state, values)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002  Optuna's signature
    ) -> Scalar:
        """One value of the configuration, which is drawn when the first one is asked for."""
        if param_name not in self._drawn:
            self._drawn = self._draw(study, trial)
        return self._drawn[param_name]

    def _draw(self, study: Study, trial: FrozenTrial) -> Mapping[str, Scalar]:
        reasons: dict[str, None] = {}
        refused: list[Draw] = []
        while len(refused) < DRAWS:
            draw = Draw(self._base if len(refused) < FAVOURITES else self._loose, study, trial)
            params = suggest(self._space, draw)
            reason = self._objection(params)
            if reason is None:
                self.choice = _choice(len(refused), reasons)
                return draw.values
            reasons[reason] = None
            refused.append(draw)
            if not draw.is_free:  # all of it was given: it would be the same again
                return draw.values
        return self._mended(refused[0], reasons)

    def _mended(self, draw: Draw, reasons: Mapping[str, None]) -> Mapping[str, Scalar]:
        move = repaired(self._space, draw.values, draw.given.keys(), self._objection)
        if move is None:
            self.choice = _choice(DRAWS - 1, reasons)
            return draw.values
        self.choice = _choice(DRAWS, reasons, {move.name: (draw.values[move.name], move.value)})
        return {**draw.values, move.name: move.value}


class Draw:
    """One configuration of a sampler, asked for as a trial asks, and written nowhere.

    What the trial has already, or was given by a user, stays.
    """

    def __init__(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> None:
        self._sampler, self._study, self._trial = sampler, study, trial
        self.given: Mapping[str, Scalar] = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        space = sampler.infer_relative_search_space(study, trial)
        self._relative = sampler.sample_relative(study, trial, space)
        self.values: dict[str, Scalar] = {}

    @property
    def is_free(self) -> bool:
        """Whether another draw may be another configuration."""
        return not self.values.keys() <= self.given.keys()

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Draw a whole number."""
        return int(self._value(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draw a number."""
        return float(self._value(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[bool | int | float | str | None]) -> Scalar:
        """Draw one of these."""
        return self._value(name, CategoricalDistribution(choices))

    def _value(self, name: str, distribution: BaseDistribution) -> Scalar:
        if name in self.given:
            found = self.given[name]
        elif name in self._relative and distribution._contains(distribution.to_internal_repr(self._relative[name])):  # noqa: SLF001  as Optuna's own trial does
            found = self._relative[name]
        else:
            found = cast("Scalar", self._sampler.sample_independent(self._study, self._trial, name, distribution))
        self.values[name] = found
        return found


def _choice(
    passed_over: int, reasons: Mapping[str, None], moved: Mapping[str, tuple[Scalar, Scalar]] | None = None
) -> Choice:
    return Choice(passed_over=passed_over, objections=tuple(reasons)[:REASONS], repaired=moved or {})
