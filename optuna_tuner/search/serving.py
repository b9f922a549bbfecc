"""The sampler for servers' flags: few trials, each minutes long, many of which fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.search.candidates import Candidates, Key, key_of
from optuna_tuner.search.encoding import Configuration, Encoding, Matrix, Vector
from optuna_tuner.search.evidence import Evidence, evidence_of, pending, undominated
from optuna_tuner.search.expectation import Expected
from optuna_tuner.search.objection import Objection
from optuna_tuner.search.one_by_one import OneByOne
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.repair import repaired
from optuna_tuner.search.shortlist import Shortlist, Worth
from optuna_tuner.spec.space import params_of
from optuna_tuner.store.records import Choice
from optuna_tuner.values import Scalar

if TYPE_CHECKING:
    from optuna_tuner.search.belief import Belief

AROUND = 5  # of the best are looked at with their neighbours
CLIMBS = 3  # times
REASONS = 5  # kept of what was passed over, each once
LEAST = 3  # configurations that ran, before they are believed
SAME = 0.15  # of a coordinate: what is nearer hardly tells more than the same value
WEIGHT = 2  # of what is expected beside distances, in which one flag of many counts little: few are set against it
HOPE = 0.001  # where no more is to be gained than that share, what is believed is doubted: there may be more elsewhere


class Serving(OneByOne):
    """Gives each trial the configuration that is worth most by what is known, and none twice.

    The first ones spread over the space, away from each other and from what failed, where most is expected.
    """

    def __init__(self, problem: Problem, *, seed: int | None = None, objection: Objection) -> None:
        self._problem, self._space, self._objection = problem, problem.space, objection
        self._expected = Expected(problem.expectation)
        self._encoding = Encoding(problem.space, problem.estimates)
        self._rng = np.random.default_rng(seed)
        self._chosen: Configuration = {}
        self.choice = Choice()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:  # noqa: ARG002  Optuna's signature
        """Forget what was chosen for another trial."""
        self._chosen = {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002  Optuna's signature
    ) -> Scalar:
        """One value of the configuration, which is chosen when the first one is asked for."""
        if param_name not in self._chosen:
            given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            self._chosen = self._choose(study, trial.number, given)
        return self._chosen[param_name]

    def _choose(self, study: Study, number: int, given: Configuration) -> Configuration:
        evidence = evidence_of(study, self._space, self._problem.default)
        others = pending(study, self._space, number)
        candidates = Candidates(self._space, given, Random(int(self._rng.integers(2**31))))  # noqa: S311  no secret

        def by(worth: Worth) -> Shortlist:
            return climbed(Shortlist(worth, self._against, tried(evidence, others)), candidates, evidence)

        if number >= self._problem.spread and sum(each.ran for each in evidence) >= LEAST:
            shortlist = self._hopeful(self._belief(evidence, others), by)
        else:
            shortlist = by(self._away(evidence, others))
        return self._decided(shortlist, candidates, given)

    def _hopeful(self, belief: Belief, by: Callable[[Worth], Shortlist]) -> Shortlist:
        """By what is believed; where that leaves nothing to hope for, by less of it."""
        shortlist = by(belief.worth)
        return shortlist if shortlist.best >= HOPE else by(belief.doubting().worth)

    def _against(self, configuration: Configuration) -> str | None:
        return self._objection(params_of(self._space, configuration))

    def _decided(self, shortlist: Shortlist, candidates: Candidates, given: Configuration) -> Configuration:
        """The worthiest that nothing speaks against; where there is none, any one, mended if it can be."""
        best = next(iter(shortlist.top(1)), None)
        one = best or candidates.at_random()
        move = None if best else repaired(self._space, one, given.keys(), self._objection)
        self.choice = Choice(
            passed_over=len(shortlist.refused),
            objections=tuple(dict.fromkeys(shortlist.refused.values()))[:REASONS],
            repaired={move.name: (one[move.name], move.value)} if move else {},
        )
        return {**one, move.name: move.value} if move else one

    def _away(self, evidence: Sequence[Evidence], others: Sequence[Configuration]) -> Worth:
        """How far each configuration is from what was tried, and how much is expected of it, if it runs."""
        if not evidence:
            return lambda configurations: self._rng.random(len(configurations))
        runs = self._belief(evidence, others).runs if any(not each.ran for each in evidence) else None
        known = self._encoding.points([*(each.configuration for each in evidence), *others])

        def away(configurations: Sequence[Configuration]) -> Vector:
            distances = apart(self._encoding.points(configurations), known)
            worth: Vector = distances * np.exp(WEIGHT * self._expected(configurations))
            return worth if runs is None else worth * runs(configurations) ** 2

        return away

    def _belief(self, evidence: Sequence[Evidence], others: Sequence[Configuration]) -> Belief:
        from optuna_tuner.search.belief import Belief  # noqa: PLC0415  scikit-learn takes a second to import

        return Belief(self._encoding, evidence, others, self._rng, self._expected)


def apart(points: Matrix, others: Matrix) -> Vector:
    """How far each point is from all others, in every coordinate: what MaxPro designs maximize (Joseph et al. 2015).

    Points that are far apart as a whole lie in the corners of the space, and try no value between the ends of a range;
    and which of the coordinates will matter is not known yet.
    """
    gaps = (points[:, None, :] - others[None, :, :]) ** 2 + SAME**2
    distances: Vector = np.exp(-np.log(gaps).sum(axis=2)).sum(axis=1) ** (-1 / points.shape[1])
    return distances


def climbed(shortlist: Shortlist, candidates: Candidates, evidence: Sequence[Evidence]) -> Shortlist:
    """Filled with candidates from everywhere, from around the best, and uphill from the worthiest of those."""
    shortlist.add([*candidates.pool(), *candidates.around(_best(evidence))])
    for _ in range(CLIMBS):
        shortlist.add(candidates.around(shortlist.top(AROUND)))
    return shortlist


def tried(evidence: Sequence[Evidence], others: Sequence[Configuration]) -> Collection[Key]:
    """What is not to be tried again."""
    return {key_of(each.configuration) for each in evidence} | {key_of(each) for each in others}


def _best(evidence: Iterable[Evidence]) -> Sequence[Configuration]:
    """The feasible ones first, then those that break least; by the first objective.

    With several objectives, some from all along the front come before the others.
    """

    def rank(each: Evidence) -> tuple[float, float]:
        excess = sum(max(0.0, excess) for excess in each.excesses.values())
        return excess, -(each.values or (0.0,))[0]

    ranked = sorted((each for each in evidence if each.ran), key=rank)
    front = undominated(ranked)
    places = dict.fromkeys(np.linspace(0, len(front) - 1, min(len(front), AROUND)).round().astype(int))
    along = [front[place] for place in places]
    return [each.configuration for each in [*along, *(each for each in ranked if each not in along)][:AROUND]]
