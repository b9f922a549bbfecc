"""The samplers and pruners that a study may name, as Optuna's."""

from __future__ import annotations

import warnings
import zlib

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.search.gp import Gp
from optuna_tuner.search.grid import Grid
from optuna_tuner.search.joint import JointQmc, JointTpe
from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.one_by_one import OneByOne
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.redrawing import Redrawing
from optuna_tuner.search.serving import Serving
from optuna_tuner.spec.sampler import Pruner
from optuna_tuner.spec.space import shell_word
from optuna_tuner.values import Params, Scalar

CANDIDATES = 24  # of which TPE takes the best: Optuna's default


def make_sampler(problem: Problem, number: int, objection: Objection = NOTHING_KNOWN) -> BaseSampler:
    """The sampler that is asked for, for the trial of this number; it keeps away from what is objected to.

    A seed gives each trial a random stream of its own: two workers with one stream would choose the same parameters,
    and a resumed study would choose them again.

    TPE takes the best of several draws, which may lie where it was never told that nothing can run. Where that was
    passed over some times, it draws again without choosing: what is like its good trials, which could run. The Gaussian
    process then leaves it to chance; its first trials spread over the space as those of `serving` do.
    """
    seed = seed_of(problem.sampler.seed, f"{number}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # known: our Optuna is pinned below 6
        kind = problem.sampler.kind
        if kind == "grid":
            return Grid(problem.space, objection)
        if kind == "serving" or (kind == "gp" and number < problem.spread):
            return Serving(problem, seed=seed, objection=objection)
        loose = _loose(problem, seed_of(problem.sampler.seed, f"{number} again"))
        return Redrawing(_favourite(problem, seed), loose, problem.space, objection)


def _favourite(problem: Problem, seed: int | None) -> BaseSampler:
    space, settings = problem.space, problem.sampler
    match settings.kind:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "qmc":
            return JointQmc(space, settings.seed)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case "gp":
            return Gp(space, seed=seed, default=problem.default)
        case _:
            return JointTpe(space, startup=settings.startup_trials, seed=seed, candidates=CANDIDATES)


def _loose(problem: Problem, seed: int | None) -> BaseSampler:
    """What is asked where the favourites were all refused."""
    match problem.sampler.kind:
        case "gp":
            return optuna.samplers.RandomSampler(seed=seed)
        case "tpe":
            return JointTpe(problem.space, startup=problem.sampler.startup_trials, seed=seed, candidates=1)
        case _:
            return _favourite(problem, seed)


def seed_of(seed: int | None, stream: str) -> int | None:
    """The seed of a random stream of its own; None, for any, where the study has none."""
    return None if seed is None else zlib.crc32(f"{seed} {stream}".encode())


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
