"""Which of a winner's flags can be left out: measured, in the order in which it was predicted.

Each simpler configuration is measured in pairs with the winner, as the winner was with the default. It keeps the gain
where it is behind by no more than the smallest gain that counts, breaks no promise, and still wins over the default: by
both gains, one after the other. A group of flags that cannot be left out together is halved, until the flag is found
that matters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from optuna_tuner.search.confirmation import Confirmation, confirmed, with_promise
from optuna_tuner.search.gain import Decision, chained, decide
from optuna_tuner.search.pairs import Pairs
from optuna_tuner.search.reruns import settings
from optuna_tuner.spec.space import Parameter, chosen_of, params_of
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import Drops
from optuna_tuner.values import Params, Scalar

Measured = Callable[[Params], Pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One simpler configuration.

    Attributes:
        params: all that it sets.
        left_out: flags of the winner that it does not set.
        against: what its pairs with the winner say, which has the default's place in them; None before the first one.
        gain: its gain over the default, and the verdict; None before it is known.
        keeps: whether it keeps the gain; None while that is being measured.

    """

    params: Params
    left_out: tuple[str, ...]
    against: Confirmation | None
    gain: Confirmation | None
    keeps: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simplification:
    """The simpler configurations of one winner, in the order in which they were measured."""

    winner: Confirmation
    steps: tuple[Step, ...]

    @property
    def open(self) -> Params | None:
        """What is to be measured now; None when all is done."""
        return self.steps[-1].params if self.steps and self.steps[-1].keeps is None else None

    @property
    def runs_left(self) -> int:
        """Of what is measured now; how many more follow is not known."""
        against = self.steps[-1].against if self.steps else None
        return 0 if self.open is None else 2 * (self.winner.wanted - len(against.pairs if against else ()))

    @property
    def best(self) -> Step | None:
        """The simplest that keeps the gain; None where none does."""
        return next((step for step in reversed(self.steps) if step.keeps), None)


def simplification(spec: StudySpec, drops: Drops, winner: Confirmation, measured: Measured) -> Simplification:
    """One step after another, as far as they were measured; the last one may be open."""
    left, gone, steps = list(drops.groups), frozenset[str](), list[Step]()
    known = {drops.winner.key}
    while left and len(steps) < settings(spec).simplify:
        group = left.pop(0)
        params = _without(spec.space, drops, gone | set(group))
        if params.key in known:  # what it would leave out went with another flag
            continue
        known.add(params.key)
        step = _step(spec, params, winner, measured(params))
        steps.append(step)
        if step.keeps is None:
            break
        if step.keeps:
            gone |= set(group)
        elif len(group) > 1:
            middle = (len(group) + 1) // 2
            left[:0] = [group[:middle], group[middle:]]
    return Simplification(winner=winner, steps=tuple(steps))


def _step(spec: StudySpec, params: Params, winner: Confirmation, pairs: Pairs) -> Step:
    first = next((pair.winner for pair in pairs.done if pair.winner is not None), None)
    against = None if first is None else confirmed(spec, first, pairs)
    gain = None if against is None else _gain(spec, winner, against)
    full = winner.winner.params or Params()
    return Step(
        params=params,
        left_out=tuple(name for name in (*full.flags, *full.env) if name not in {*params.flags, *params.env}),
        against=against,
        gain=gain,
        keeps=_keeps(spec, against, gain, is_over=pairs.is_over(settings(spec).pairs)),
    )


def _keeps(spec: StudySpec, against: Confirmation | None, gain: Confirmation | None, *, is_over: bool) -> bool | None:
    """No more pairs are measured of one that has broken a promise, or is certainly behind."""
    margin, found = settings(spec).min_gain, against.estimates[0] if against else None
    if against is not None and (against.kept < len(against.pairs) or (found is not None and found.high < -margin)):
        return False
    if not is_over:
        return None
    return found is not None and found.share >= -margin and gain is not None and gain.decisions[0] is Decision.WIN


def _gain(spec: StudySpec, winner: Confirmation, against: Confirmation) -> Confirmation | None:
    """Its verdict: by the winner's pairs with the default, and its own with the winner."""
    full, less = winner.estimates[0], against.estimates[0]
    if full is None or less is None:
        return None
    maximize = spec.goals.objectives[0].direction == "maximize"
    found = chained(full, less, maximize=maximize, confidence=winner.confidence)
    by_gain = decide(found, settings(spec).min_gain)
    decision = with_promise(by_gain, len(winner.pairs), winner.kept, winner.default_kept)
    return replace(winner, winner=against.winner, estimates=(found,), decisions=(decision,))


def _without(space: Mapping[str, Parameter], drops: Drops, dropped: Collection[str]) -> Params:
    """The winner without these flags."""
    winner = chosen_of(space, drops.winner)
    left = simpler(space, winner, drops.default, dropped)
    return params_of(space, {name: left[name] for name in winner if name in left and name not in dropped})


def simpler(
    space: Mapping[str, Parameter],
    chosen: Mapping[str, Scalar],
    default: Mapping[str, Scalar],
    dropped: Collection[str],
) -> Mapping[str, Scalar]:
    """A configuration with the engine's own values in place of these parameters; what depends on one goes with it.

    Without those of which the engine's value is not known.
    """
    left: dict[str, Scalar] = {}
    for name, parameter in space.items():
        source = default if name in dropped or name not in chosen else chosen
        if name in source and parameter.applies(left):
            left[name] = source[name]
    return left
