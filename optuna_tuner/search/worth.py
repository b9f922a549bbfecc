"""What each flag of a configuration is worth, as the search believes: what is lost where it is left to the engine."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.search.encoding import Configuration, Encoding, is_comparable
from optuna_tuner.search.evidence import EFFECTIVE_CONFIG, KIND, Evidence, evidence_of, whole
from optuna_tuner.search.objection import Objection
from optuna_tuner.search.outlook import FEWEST
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.simplifying import simpler
from optuna_tuner.spec.space import Parameter, params_of
from optuna_tuner.store.records import AttemptKind, Drops
from optuna_tuner.values import Params, Scalar

LIKELY = 0.5  # what rather breaks a promise than keeps it is no recommendation


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a simpler configuration is believed to lose, as a share of the objective's value; below zero it gains.

    `error` is the standard deviation of that belief, `holds` the probability that the server runs and keeps every
    promise.
    """

    share: float
    error: float
    holds: float

    @property
    def risk(self) -> float:
        """The loss to be expected if gains count for nothing: large also where little is known."""
        if self.error <= 0:
            return max(0.0, self.share)
        z = self.share / self.error
        return self.share * 0.5 * math.erfc(-z / math.sqrt(2)) + self.error * math.exp(-z * z / 2) / math.sqrt(
            2 * math.pi
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagWorth:
    """A flag that a configuration sets to something else than the engine's default.

    `loss` is that of the configuration without this flag alone; None where it is not known what the engine has instead,
    or where it is known that this would not run. `needed` says whether it is among the fewest that keep the gain.
    """

    flag: str
    value: Scalar
    default: Scalar | None
    loss: Loss | None
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Worths:
    """The flags of one configuration, the one that is worth most first, and the loss without those not needed.

    `default` is what the engine has instead, as far as that is known.
    """

    flags: tuple[FlagWorth, ...]
    loss: Loss
    default: Configuration


def worths(study: Study, problem: Problem, objection: Objection, number: int, margin: float) -> Worths | None:
    """What the flags of the trial of this number are worth.

    The fewest flags are found by leaving out the one that risks least, again and again, as long as all that was left
    out risks no more than `margin`, a share. None where too few servers ran, where it is not known where
    in the space the trial lies, or where there are several objectives or no shares of their values.
    """
    trials = study.get_trials(deepcopy=False)
    default = _engines_own(trials, problem)
    trial = next((each for each in trials if each.number == number), None)
    winner = None if trial is None else whole(trial, problem.space, default)
    evidence = evidence_of(study, problem.space, default)
    if trial is None or winner is None or len(study.directions) > 1 or not _has_shares(evidence, problem.space):
        return None
    flags = [name for name in trial.params if default.get(name) != winner.get(name)]
    made, loss = _Simpler(problem, winner, default, evidence, objection).worths(flags, margin)
    return Worths(flags=made, loss=loss, default=default)


def drops_of(winner: Params, found: Worths | None, margin: float) -> Drops:
    """What is worth trying to leave out of a winner, given what its flags are worth.

    All that is predicted not to be needed, together; then, one by one, what is needed only because little is known of
    it. What the engine has anyway goes with the first of them. Nothing where nothing can be predicted.
    """
    if found is None:
        return Drops(winner=winner, groups=(), default={})
    losses = {each.flag: each.loss for each in found.flags if each.loss is not None and each.loss.holds >= LIKELY}
    by_risk = sorted(losses, key=lambda name: losses[name].risk)
    needed = {each.flag for each in found.flags if each.needed}
    together = tuple(name for name in by_risk if name not in needed)
    single = [(name,) for name in by_risk if name in needed and losses[name].share <= margin]
    first, *others = [*filter(None, [together]), *single] or [()]
    differing = {each.flag for each in found.flags}
    same = [name for name in (*winner.flags, *winner.env) if name not in differing]
    groups = ((*same, *first), *others) if first else ()
    return Drops(winner=winner, groups=groups, default=found.default)


class _Simpler:
    """Configurations with fewer flags than one of them has, and what is believed of them."""

    def __init__(
        self,
        problem: Problem,
        winner: Configuration,
        default: Configuration,
        evidence: Sequence[Evidence],
        objection: Objection,
    ) -> None:
        from optuna_tuner.search.belief import Belief  # noqa: PLC0415  scikit-learn takes a second to import

        self._space, self._winner, self._default, self._objection = problem.space, winner, default, objection
        encoding = Encoding(problem.space, problem.estimates)
        self._belief = Belief(encoding, evidence, [], np.random.default_rng(len(evidence)))

    def worths(self, flags: Sequence[str], margin: float) -> tuple[tuple[FlagWorth, ...], Loss]:
        """Each flag alone, and then one after the other."""
        alone = self._losses({name: frozenset([name]) for name in flags})
        dropped, loss = frozenset[str](), Loss(share=0.0, error=0.0, holds=1.0)
        while len(dropped) < len(flags):
            left = {name: dropped | {name} for name in flags if name not in dropped}
            found = {name: each for name, each in self._losses(left).items() if each.holds >= LIKELY}
            cheapest = min(found, key=lambda name: found[name].risk, default=None)
            if cheapest is None or found[cheapest].risk > margin:
                break
            dropped, loss = dropped | {cheapest}, found[cheapest]
        made = [self._worth(name, alone.get(name), needed=name not in dropped) for name in flags]
        made.sort(key=lambda each: np.inf if each.loss is None else -each.loss.share)
        return tuple(made), loss

    def _worth(self, name: str, loss: Loss | None, *, needed: bool) -> FlagWorth:
        return FlagWorth(flag=name, value=self._winner[name], default=self._default.get(name), loss=loss, needed=needed)

    def _losses(self, choices: Mapping[str, Collection[str]]) -> Mapping[str, Loss]:
        """Of the configurations without these flags; those that are not known, or known not to run, are left out."""
        made = {name: self._without(dropped) for name, dropped in choices.items()}
        sound = {name: each for name, each in made.items() if each is not None}
        if not sound:
            return {}
        shares, errors, holds = self._belief.losses(self._winner, list(sound.values()))
        return {
            name: Loss(share=float(share), error=float(error), holds=float(hold))
            for name, share, error, hold in zip(sound, shares, errors, holds, strict=True)
        }

    def _without(self, dropped: Collection[str]) -> Configuration | None:
        """With the engine's own values in place of these flags; what depends on one of them goes with it."""
        chosen = simpler(self._space, self._winner, self._default, dropped)
        if any(each.applies(chosen) and name not in chosen for name, each in self._space.items()):
            return None
        kept = {name: value for name, value in chosen.items() if name in self._winner and name not in dropped}
        return chosen if self._objection(params_of(self._space, kept)) is None else None


def _engines_own(trials: Sequence[FrozenTrial], problem: Problem) -> Configuration:
    """What the engine has where it is left alone, as far as that is known: the baseline's server has told it."""
    told = [each.user_attrs for each in trials if each.user_attrs.get(KIND) == AttemptKind.BASELINE.value]
    known = {
        **problem.default,
        **{name: value for each in told for name, value in each.get(EFFECTIVE_CONFIG, {}).items()},
    }
    return {
        name: known[name] for name, each in problem.space.items() if name in known and is_comparable(each, known[name])
    }


def _has_shares(evidence: Sequence[Evidence], space: Mapping[str, Parameter]) -> bool:
    """Whether enough ran to believe anything, and all values have one sign."""
    values = [each.values[0] for each in evidence if each.ran and each.values]
    return len(values) >= FEWEST + len(space) and (min(values) > 0 or max(values) < 0)
