"""Optuna's samplers over whole spaces: every parameter is drawn, whatever the trials before have, or lack."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.spec.space import Choice, Parameter, Switch
from optuna_tuner.values import Scalar

Distributions = dict[str, BaseDistribution]


class JointTpe(optuna.samplers.TPESampler):
    """TPE that draws parameters with the same condition jointly, whatever the history holds.

    By itself Optuna's works on the parameters that all trials share, which the baseline, having none, would empty. With
    `group=True` it learns the groups from the history, and a trial with a few parameters, as a study file may want one
    tried first, would part them from all others for ever. Here the space says which belong together.
    """

    def __init__(self, space: Mapping[str, Parameter], *, startup: int, seed: int | None, candidates: int) -> None:
        super().__init__(
            seed=seed, n_ei_candidates=candidates, n_startup_trials=startup, multivariate=True, constant_liar=True
        )
        self._space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:  # noqa: ARG002  Optuna's signature
        """All parameters that have a choice."""
        return distributions(self._space)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Scalar]:
        """One group after another; what is drawn for a parameter whose condition does not hold is never asked for."""
        groups: dict[str, Distributions] = {}
        for name, each in search_space.items():
            groups.setdefault(str(sorted(self._space[name].conditions().items())), {})[name] = each
        chosen: dict[str, Scalar] = {}
        for group in groups.values():
            chosen |= super().sample_relative(study, trial, group)
        return chosen


class JointQmc(optuna.samplers.QMCSampler):
    """The next point of one scrambled Sobol sequence, over all parameters.

    By itself Optuna's takes the parameters of the study's first trial, of which the baseline has none. How far the
    sequence was taken is kept with Optuna's study, so that workers side by side, and a resumed study, go on in it: for
    that all must scramble alike, by the seed of the study and not of the trial. Without one the seed is 0.
    """

    def __init__(self, space: Mapping[str, Parameter], seed: int | None) -> None:
        super().__init__(scramble=True, seed=seed or 0, warn_independent_sampling=False)
        self._space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:  # noqa: ARG002  Optuna's signature
        """All parameters that have a choice; what is drawn without its condition is never asked for."""
        return distributions(self._space)


def distributions(space: Mapping[str, Parameter]) -> Distributions:
    """What the parameters that have a choice ask Optuna for."""
    found = {name: _distribution(name, parameter) for name, parameter in space.items()}
    return {name: each for name, each in found.items() if not each.single()}


def _distribution(name: str, parameter: Parameter) -> BaseDistribution:
    example = parameter.values()[0] if isinstance(parameter, Choice | Switch) else parameter.low
    trial = optuna.trial.FixedTrial({name: example})
    parameter.suggest(trial, name)
    return trial.distributions[name]
