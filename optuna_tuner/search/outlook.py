"""What more trials could bring: an estimate from what is believed of the configurations that would be tried."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from optuna.study import Study

from optuna_tuner.search.candidates import Candidates
from optuna_tuner.search.encoding import Configuration, Encoding, Matrix
from optuna_tuner.search.evidence import Evidence, evidence_of, pending
from optuna_tuner.search.expectation import Expected
from optuna_tuner.search.objection import Objection
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.serving import climbed, tried
from optuna_tuner.search.shortlist import Shortlist
from optuna_tuner.spec.space import params_of

PATIENCE = 5  # trials: a few of them may agree by chance, and make the model sure where it should not be
FEWEST = 8  # trials that ran, beside one for each parameter: fewer say too little of what was not tried
WORTHIEST = 128  # configurations of which the trials are chosen
EXAMINED = 1024  # that are asked about until there are so many, which takes a second at most
WORLDS = 256  # that are drawn: an estimate of 1 % is then known to within a tenth of itself or so


def outlook_where_level(
    study: Study, problem: Problem, objection: Objection, trials: int, share: float
) -> float | None:
    """What so many more trials could bring, where that is less than `share`, and was after each of the last trials.

    None elsewhere: the search is to go on.
    """

    def is_small(gain: float | None) -> bool:
        return gain is not None and gain < share

    now = outlook(study, problem, objection, trials)
    before = (outlook(study, problem, objection, trials + ago, ago) for ago in range(1, PATIENCE))
    return now if is_small(now) and all(map(is_small, before)) else None


def outlook(study: Study, problem: Problem, objection: Objection, trials: int, ago: int = 0) -> float | None:
    """The gain over the best configuration that so many more trials may be expected to find, as a share of its value.

    Worlds are drawn that agree with all that was measured, each with its own truth for every configuration. The trials
    are those that together find most on average over these worlds: so it is an estimate of a search that knows now what
    it will try, and whose trials do not learn from each other. None where nothing can be said: too few servers ran, no
    configuration is feasible yet or none is left, there are several objectives, or values of both signs, which have no
    shares. With `ago`, by what was known so many trials before now.
    """
    evidence = evidence_of(study, problem.space, problem.default)
    evidence = evidence[: len(evidence) - ago]
    if len(study.directions) > 1 or sum(each.ran for each in evidence) < FEWEST + len(problem.space):
        return None
    gains = _gains(evidence, pending(study, problem.space, -1), problem, objection)
    return None if gains is None else _found(gains, trials)


def _gains(
    evidence: Sequence[Evidence], others: Sequence[Configuration], problem: Problem, objection: Objection
) -> Matrix | None:
    """Of each configuration that might be tried, a column, in each of the worlds, a row."""
    from optuna_tuner.search.belief import Belief  # noqa: PLC0415  scikit-learn takes a second to import

    seed = len(evidence)  # whoever asks comes to the same answer
    expected = Expected(problem.expectation)
    belief = Belief(Encoding(problem.space, problem.estimates), evidence, others, np.random.default_rng(seed), expected)

    def against(configuration: Configuration) -> str | None:
        return objection(params_of(problem.space, configuration))

    shortlist = Shortlist(belief.worth, against, tried(evidence, others), EXAMINED)
    candidates = Candidates(problem.space, {}, Random(seed))  # noqa: S311  no secret
    worthiest = climbed(shortlist, candidates, evidence).top(WORTHIEST)
    return belief.gains(worthiest, WORLDS) if worthiest else None


def _found(gains: Matrix, trials: int) -> float:
    """The mean over the worlds of the best of so many configurations, chosen one after the other."""
    found = np.zeros((len(gains), 1))
    for _ in range(min(trials, gains.shape[1])):
        more = np.maximum(gains, found)
        found = more[:, [more.mean(axis=0).argmax()]]
    return float(found.mean())
