"""The study file's sampler and pruner as Optuna's."""

from __future__ import annotations

import warnings
import zlib

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.spec.space import shell_word
from optuna_tuner.spec.study import Pruner, StudySpec
from optuna_tuner.tuning.grid import Grid
from optuna_tuner.tuning.one_by_one import OneByOne
from optuna_tuner.values import Params, Scalar


def make_sampler(spec: StudySpec, number: int) -> BaseSampler:
    """The sampler that the study asks for, for the trial of this number.

    A seed gives each trial a random stream of its own: two workers with one stream would choose the same parameters,
    and a resumed study would choose them again.

    TPE works on groups of parameters, since conditional flags, and the baseline which has none, would empty the
    space that all trials share, and with it the joint model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # known: our Optuna is pinned below 6
        return _sampler(spec, _seed(spec.sampler.seed, number))


def _sampler(spec: StudySpec, seed: int | None) -> BaseSampler:
    match spec.sampler.kind:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case "grid":
            return Grid(spec.space)
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=spec.sampler.startup_trials,
                multivariate=True,
                group=True,
                constant_liar=True,
            )


def _seed(seed: int | None, number: int) -> int | None:
    return None if seed is None else zlib.crc32(f"{seed} {number}".encode())


class Repeated(OneByOne):
    """Gives a trial the parameters that were chosen before. Optuna's own for this is experimental and says so aloud."""

    def __init__(self, params: Params) -> None:
        self._params = params

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002  Optuna's signature
        trial: FrozenTrial,  # noqa: ARG002  as above
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Scalar:
        """The value that it has; one that went to the environment is read back from its text."""
        if param_name in self._params.flags:
            return self._params.flags[param_name]
        return _read(self._params.env[param_name], param_distribution)


def _read(text: str, distribution: BaseDistribution) -> Scalar:
    if isinstance(distribution, CategoricalDistribution):
        return next(choice for choice in distribution.choices if choice is not None and shell_word(choice) == text)
    return int(text) if isinstance(distribution, IntDistribution) else float(text)


def make_pruner(spec: Pruner) -> optuna.pruners.BasePruner:
    """The pruner that judges a trial between two load levels."""
    if spec.kind == "median":
        return optuna.pruners.MedianPruner()
    if spec.kind == "percentile":
        return optuna.pruners.PercentilePruner(25.0)
    if spec.kind == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.NopPruner()
