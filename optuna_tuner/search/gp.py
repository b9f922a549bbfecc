"""Optuna's Gaussian process, for spaces and histories of servers' flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from statistics import fmean

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from optuna_tuner.search.candidates import key_of
from optuna_tuner.search.encoding import Configuration
from optuna_tuner.search.evidence import Evidence, bounded, evidence_of, pending
from optuna_tuner.search.flat import FlatSpace
from optuna_tuner.search.joint import distributions
from optuna_tuner.search.verdict import SERVER_RUNS, VIOLATED
from optuna_tuner.spec.space import Parameter
from optuna_tuner.values import Scalar

ASKS = 4  # for a configuration that was not tried; each one that was counts as being tried in the next


def missing_for(kind: str) -> str | None:
    """What the sampler of this kind needs and this machine lacks, and how to get it."""
    if kind != "gp" or find_spec("torch") is not None:
        return None
    return "the sampler gp needs torch, which is not installed here: pip install 'optuna-tuner[gp]'"


class Gp(BaseSampler):
    """Optuna's GPSampler, told of all trials in a way that it can use. It needs torch.

    By itself it forgets the trials that failed, and may try one again for ever; draws parameters that not all trials
    share at random; takes numbers in a list for words; and ends with an error where one trial has no constraints. So it
    is asked in a study of its own, in memory, whose trials have all parameters and all constraints. What failed breaks
    one that the others keep, and is as good as they are on average: it says no more than that. A default outside the
    space is not told.
    """

    def __init__(self, space: Mapping[str, Parameter], *, seed: int | None, default: Configuration) -> None:
        self._space, self._flat, self._default, self._seed = space, FlatSpace(space), default, seed
        self._independent = RandomSampler(seed=seed)
        self._drawn: list[Configuration] = []

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:  # noqa: ARG002  Optuna's signature
        """Forget what was drawn for another trial."""
        self._drawn = []

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002  Optuna's signature
        """All parameters that have a choice."""
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Scalar]:
        """A promising configuration that was not tried; nothing while none has run.

        Who draws again for the same trial has something against what was drawn before: it counts as failed.
        """
        refused = [Evidence(configuration=each, ran=False, values=None, excesses={}) for each in self._drawn]
        evidence = [*evidence_of(study, self._space, self._default), *refused]
        if not search_space or not any(each.ran for each in evidence):
            return {}
        others = pending(study, self._space, trial.number)
        tried = {key_of(each.configuration) for each in evidence} | {key_of(each) for each in others}
        view = self._view(evidence, others)
        given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        for _ in range(ASKS):
            drawn = self._flat.outside(view.ask(self._flat.distributions).params)
            chosen = self._flat.applying({**drawn, **given})
            if key_of(chosen) not in tried:
                break
        self._drawn.append(chosen)
        return drawn

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Scalar:
        """At random: nothing has run yet, or there is no choice."""
        value: Scalar = self._independent.sample_independent(study, trial, param_name, param_distribution)
        return value

    def _view(self, evidence: Sequence[Evidence], others: Sequence[Configuration]) -> Study:
        """What was tried, and what is being tried, as Optuna's sampler takes it."""
        ran = [each for each in evidence if each.ran]
        middling = [fmean(values) for values in zip(*(each.values or () for each in ran), strict=True)]
        told = _constraints(evidence, ran)
        seed = None if self._seed is None else (self._seed + len(self._drawn)) % 2**32
        sampler = GPSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
        view = optuna.create_study(directions=["maximize"] * len(middling), sampler=sampler)
        for each, constraints in zip(evidence, told, strict=True):
            self._add(view, each.configuration, values=each.values or middling, constraints=constraints)
        for configuration in others:
            self._add(view, configuration)
        return view

    def _add(
        self,
        view: Study,
        configuration: Configuration,
        *,
        values: Sequence[float] | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        """A trial without values is one that runs."""
        inside = self._flat.inside(configuration)
        if inside is None:
            return
        state = TrialState.RUNNING if values is None else TrialState.COMPLETE
        view.add_trial(
            create_trial(
                state=state,
                values=values,
                params=inside,
                distributions=self._flat.distributions,
                constraints=dict(constraints or {}),
            )
        )


def _constraints(evidence: Sequence[Evidence], ran: Sequence[Evidence]) -> Sequence[Mapping[str, float]]:
    """Of each trial the same ones: those that any has broken."""
    broken = sorted({name for each in ran for name, excess in each.excesses.items() if excess > 0})
    runs = {SERVER_RUNS: 0.0} if len(ran) < len(evidence) else {}
    fails = {SERVER_RUNS: VIOLATED} | {
        name: fmean(bounded(each.excesses.get(name, 0.0)) for each in ran) for name in broken
    }
    return [
        runs | {name: bounded(each.excesses.get(name, 0.0)) for name in broken} if each.ran else fails
        for each in evidence
    ]
