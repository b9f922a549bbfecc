"""The study file's sampler and pruner as Optuna's."""

from __future__ import annotations

import warnings
import zlib

import optuna

from optuna_tuner.spec.study import Pruner, StudySpec
from optuna_tuner.tuning.grid import Grid


def make_sampler(spec: StudySpec, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that the study asks for, for the trial of this number.

    A seed gives each trial a random stream of its own: two workers with one stream would choose the same parameters,
    and a resumed study would choose them again.

    TPE works on groups of parameters, since conditional flags, and the baseline which has none, would empty the
    space that all trials share, and with it the joint model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # known: our Optuna is pinned below 6
        return _sampler(spec, _seed(spec.sampler.seed, number))


def _sampler(spec: StudySpec, seed: int | None) -> optuna.samplers.BaseSampler:
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


def make_pruner(spec: Pruner) -> optuna.pruners.BasePruner:
    """The pruner that judges a trial between two load levels."""
    if spec.kind == "median":
        return optuna.pruners.MedianPruner()
    if spec.kind == "percentile":
        return optuna.pruners.PercentilePruner(25.0)
    if spec.kind == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.NopPruner()
