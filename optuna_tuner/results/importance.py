"""Which flags mattered, by fANOVA."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from types import MappingProxyType
from typing import NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from optuna_tuner.search.evidence import KIND
from optuna_tuner.store.records import AttemptKind
from optuna_tuner.values import Scalar

FEWEST_TRIALS = 4  # fewer say nothing about more than one flag
MOST_TRIALS = 200  # what a forest costs grows faster than they do: a thousand took half a minute, and 50 MiB
FANOVA = "fANOVA: share of the variance that each flag explains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Shares by flag, the largest first; they sum to one, or there are none when too little is known.

    `method` says what a share means.
    """

    method: str
    shares: Mapping[str, float]


class _Point(NamedTuple):
    """What fANOVA looks at of one trial."""

    params: Mapping[str, Scalar]
    distributions: Mapping[str, BaseDistribution]
    value: float


@dataclass(frozen=True, slots=True)
class _Points:
    """Those of one study, known by a digest: a cache keeps its keys, and a thousand points are more than a megabyte."""

    digest: bytes
    points: list[_Point] = field(compare=False)


def importance_of(trials: Sequence[FrozenTrial], objective: int = 0) -> Importance:
    """Importance of the flags for one objective, from the trials that ran to their end.

    Trials without parameters, such as the baseline, are left out: they would empty the space that all trials share. So
    is what was measured again, which would count a configuration several times. Of more than `MOST_TRIALS` every
    second, third ... is looked at. Not by PED-ANOVA, Optuna's own default: it can give a flag without any effect the
    first rank.
    """
    ran = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.params and not _is_again(trial)]
    ran = ran[:: ceil(len(ran) / MOST_TRIALS) or 1]
    if len(ran) < FEWEST_TRIALS or len({trial.values[objective] for trial in ran}) == 1:
        return Importance(method=FANOVA, shares={})
    points = [_Point(trial.params, trial.distributions, trial.values[objective]) for trial in ran]
    digest = hashlib.sha256(repr(points).encode()).digest()
    return Importance(method=FANOVA, shares=_shares(_Points(digest, points)))


def forget_importances() -> None:
    """Keep no importances: for a process that asks once for each."""
    _shares.cache_clear()


def _is_again(trial: FrozenTrial) -> bool:
    return AttemptKind(trial.user_attrs.get(KIND, AttemptKind.SEARCH)).again


@lru_cache(maxsize=16)
def _shares(known: _Points) -> Mapping[str, float]:
    """Kept: 200 trials take five seconds, and a dashboard asks for the same again every few seconds."""
    from optuna.importance import (  # noqa: PLC0415  scikit-learn takes a second to import
        FanovaImportanceEvaluator,
        get_param_importances,
    )

    study = _study(known.points)
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    _forget_trees()
    known.points.clear()
    return MappingProxyType(dict(sorted(shares.items(), key=lambda share: -share[1])))


def _study(points: Sequence[_Point]) -> optuna.Study:
    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # nobody needs to hear of a study that lives for a moment
    try:
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    finally:
        optuna.logging.set_verbosity(told)
    for point in points:
        study.add_trial(
            create_trial(params=dict(point.params), distributions=dict(point.distributions), value=point.value)
        )
    return study


def _forget_trees() -> None:
    """Optuna's caches keep every tree of every forest for ever: some megabytes a call, which a dashboard adds up."""
    from optuna.importance._fanova._tree import _FanovaTree  # noqa: PLC0415  scikit-learn takes a second to import

    for method in vars(_FanovaTree).values():
        if hasattr(method, "cache_clear"):
            method.cache_clear()
