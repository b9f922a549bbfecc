"""Whether a confirmed winner has held: judged from pairs of now against pairs of then, as few as it takes.

The winner is judged against the default, now as then: what a machine does to both alike drops out. A verdict needs the
whole interval on one side of what is allowed. The pairs are looked at three times; what the confidence leaves open is
shared out over the looks (Bonferroni), so that all together are wrong as seldom as one would be.

Every objective is judged. A loss in one of them is enough, so each may raise a false alarm only in its share of what is
left open (Bonferroni again). That it held must be shown in all of them, so there nothing is to be shared out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from optuna_tuner.search.confirmation import values_of
from optuna_tuner.search.pairs import Pair, Pairs
from optuna_tuner.search.reruns import best_few, gave_result, settings
from optuna_tuner.search.shift import Shift, logs, ratios, shift_of
from optuna_tuner.spec.recheck import FEWEST_RUNS, Gate, Runs
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, WorkerRecord

# Looks, as shares of the most pairs, and the share of the error that each may make, of a speed and of a promise. Most
# of it is for the last one: so a noise of 2 % is borne, and a quiet machine is done at the first (benchmarks/gates.py).
# Where a promise was kept in five pairs of five, none of four is enough at the first look, and eight of twenty at last.
LOOKS = ((0.2, 0.1, 0.2), (0.4, 0.2, 0.2), (1.0, 0.7, 0.6))


class Held(StrEnum):
    """What is known of a winner."""

    HELD = "held"  # it lost less than it may
    REGRESSED = "regressed"  # it lost more
    UNKNOWN = "unknown"  # it cannot be told


class Reason(StrEnum):
    """Why it is judged so."""

    HOLDS = "holds"
    SLOWER = "slower"
    NO_START = "no_start"  # it gives no figures any more
    BROKEN_PROMISE = "broken_promise"  # it breaks a constraint, more often than then
    NOISE = "noise"  # the most pairs do not settle it
    PROMISE_IN_DOUBT = "promise_in_doubt"  # it broke a constraint, and the pairs do not tell whether more than then
    BOTH_SLOWER = "both_slower"  # the default lost as much: the machine, or the engine as a whole
    DEFAULT_FASTER = "default_faster"  # it lost nothing by itself: the default gained
    NO_DEFAULT = "no_default"  # the default gives no figures: there is nothing to measure against

    @property
    def held(self) -> Held:
        """What it says of the winner."""
        if self is Reason.HOLDS:
            return Held.HELD
        regressed = {Reason.SLOWER, Reason.NO_START, Reason.BROKEN_PROMISE}
        return Held.REGRESSED if self in regressed else Held.UNKNOWN


class Look(NamedTuple):
    """After how many pairs they are looked at, and how much error that look may make on either side."""

    pairs: int
    speed_error: float
    promise_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One objective. `reason` is None while more pairs are to tell.

    `against_default` is what the winner lost or gained beside the default, `winner` and `default` what each did by
    itself, all since then and with the study's confidence; the verdict itself asks for more at the first looks.
    """

    metric: str
    reason: Reason | None
    against_default: Shift | None
    winner: Shift | None
    default: Shift | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """What is known so far. `reason` is None while more pairs are to tell.

    `pairs` count, of at most `most`; in `kept` of them the winner kept every constraint. `objectives` has each of the
    goals', in their order.
    """

    reason: Reason | None
    pairs: tuple[Pair, ...]
    most: int
    kept: int
    confidence: float
    objectives: tuple[Judged, ...]

    @property
    def held(self) -> Held:
        """Unknown, too, while it is not settled."""
        return self.reason.held if self.reason else Held.UNKNOWN


def gated(spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord]) -> Gated | None:
    """What the runs say; None for a study that is no gate."""
    if spec.gate is None:
        return None
    candidates = best_few(spec, attempts)
    done = Pairs(candidates[0].params, attempts, workers).done if candidates else ()
    judge = _Judge(spec, spec.gate, done)
    look = judge.decisive
    if _is_lost([each for each in attempts if each.kind is AttemptKind.BASELINE]):
        reason: Reason | None = Reason.NO_DEFAULT
    elif _never_starts(candidates[0].first if candidates else None, done):
        reason = Reason.NO_START
    else:
        reason = judge.reason(look) if look else None
    return Gated(
        reason=reason,
        pairs=tuple(done),
        most=settings(spec).pairs,
        kept=judge.kept(len(done)),
        confidence=settings(spec).confidence,
        objectives=tuple(each.judged(look) for each in judge.objectives),
    )


def looks(spec: StudySpec) -> Sequence[Look]:
    """All that may come to be; those that would fall together are one."""
    most, error = settings(spec).pairs, 1 - settings(spec).confidence
    found: dict[int, Look] = {}
    for when, speed, promise in LOOKS:
        pairs = max(FEWEST_RUNS, round(when * most))
        before = found.get(pairs, Look(pairs, 0.0, 0.0))
        found[pairs] = Look(pairs, before.speed_error + speed * error, before.promise_error + promise * error)
    return tuple(found.values())


def pairs_wanted(spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord]) -> int:
    """Up to the next look; none more when it is settled."""
    found = gated(spec, attempts, workers)
    if found is None or found.reason is not None:
        return 0
    return next((look.pairs for look in looks(spec) if look.pairs > len(found.pairs)), 0)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges the winner: each objective, and whether it keeps its promise."""

    spec: StudySpec
    gate: Gate
    done: Sequence[Pair]

    @property
    def objectives(self) -> Sequence[_Measure]:
        """Each by itself."""
        return [_Measure(self.spec, self.gate, self.done, place) for place in range(len(self.spec.goals.objectives))]

    @property
    def decisive(self) -> Look | None:
        """The first look that settles it, else the last one that there are pairs for; None before the first."""
        now = [look for look in looks(self.spec) if look.pairs <= len(self.done)]
        return next((look for look in now if self.reason(look)), now[-1] if now else None)

    def reason(self, look: Look) -> Reason | None:
        """Settled by this look; else None."""
        if self._breaks_more(look):
            return Reason.BROKEN_PROMISE
        found = [each.reason(look) for each in self.objectives]
        if Reason.SLOWER in found:
            return Reason.SLOWER
        if None in found:
            return None
        unsure = next((each for each in found if each is not Reason.HOLDS), Reason.HOLDS)
        if unsure is Reason.HOLDS and self._keeps_less(look.pairs):
            return Reason.PROMISE_IN_DOUBT if _is_last(look, self.spec) else None
        return unsure

    def kept(self, pairs: int) -> int:
        """Of the first so many pairs, those in which the winner kept every constraint."""
        halves = (pair.winner for pair in self.done[:pairs])
        return sum(half is not None and half.outcome is not None and half.outcome.feasible for half in halves)

    def _keeps_less(self, pairs: int) -> bool:
        return self.kept(pairs) * self.gate.pairs < self.gate.kept * pairs

    def _breaks_more(self, look: Look) -> bool:
        """More often than then, by more than chance explains (Fisher's exact test, one-sided)."""
        if not self._keeps_less(look.pairs):
            return False
        kept, then = self.kept(look.pairs), self.gate
        all_kept, all_runs = kept + then.kept, look.pairs + then.pairs
        chance = math.fsum(
            math.comb(look.pairs, now) * math.comb(then.pairs, all_kept - now)
            for now in range(kept + 1)
            if now <= all_kept
        ) / math.comb(all_runs, all_kept)
        return chance <= look.promise_error


@dataclass(frozen=True, slots=True)
class _Measure:
    """Judges the winner by one objective."""

    spec: StudySpec
    gate: Gate
    done: Sequence[Pair]
    place: int

    def judged(self, look: Look | None) -> Judged:
        """All that is known, and what the look makes of it."""
        pairs, (ours, theirs) = len(self.done), self._now(len(self.done))
        then = self._then(self.gate.winner), self._then(self.gate.default)
        return Judged(
            metric=self.spec.goals.objectives[self.place].metric,
            reason=self.reason(look) if look else None,
            against_default=self._against_default(pairs, settings(self.spec).confidence),
            winner=self._shift(logs(then[0]), logs(ours)),
            default=self._shift(logs(then[1]), logs(theirs)),
        )

    def reason(self, look: Look) -> Reason | None:
        """What these pairs show, wrongly in at most the look's share of cases; None where more may tell."""
        many, error = len(self.spec.goals.objectives), look.speed_error
        found, surer = (self._against_default(look.pairs, 1 - 2 * each) for each in (error, error / many))
        alone = self._shift(logs(self._then(self.gate.winner)), logs(self._now(look.pairs)[0]))
        allowed = -self.gate.max_regression
        if found and alone and found.low > allowed:
            return Reason.BOTH_SLOWER if alone.high < allowed else Reason.HOLDS
        if surer and alone and surer.high < allowed:
            return Reason.DEFAULT_FASTER if alone.low > allowed else Reason.SLOWER
        return Reason.NOISE if _is_last(look, self.spec) else None

    def _against_default(self, pairs: int, confidence: float) -> Shift | None:
        then = ratios(self._then(self.gate.winner), self._then(self.gate.default))
        return self._shift(then, ratios(*self._now(pairs)), confidence)

    def _now(self, pairs: int) -> tuple[Sequence[float], Sequence[float]]:
        """Of the pairs in which both were measured."""
        both = [(values_of(pair.winner), values_of(pair.default)) for pair in self.done[:pairs]]
        whole = [(ours[self.place], theirs[self.place]) for ours, theirs in both if ours and theirs]
        return [ours for ours, _ in whole], [theirs for _, theirs in whole]

    def _then(self, runs: Mapping[str, Runs]) -> Sequence[float]:
        return runs[self.spec.goals.objectives[self.place].metric]

    def _shift(
        self, then: Sequence[float] | None, now: Sequence[float] | None, confidence: float | None = None
    ) -> Shift | None:
        maximize = self.spec.goals.objectives[self.place].direction == "maximize"
        return shift_of(then, now, maximize=maximize, confidence=confidence or settings(self.spec).confidence)


def _is_last(look: Look, spec: StudySpec) -> bool:
    return look.pairs == looks(spec)[-1].pairs


def _is_lost(runs: Sequence[AttemptRecord]) -> bool:
    """Whether they have all ended, and the last one without figures."""
    return bool(runs) and all(each.state is AttemptState.ENDED for each in runs) and not values_of(runs[-1])


def _never_starts(first: AttemptRecord | None, pairs: Sequence[Pair]) -> bool:
    """Whether the winner was tried twice and more, and never gave a figure."""
    runs = [run for run in (first, *(pair.winner for pair in pairs)) if run is not None and gave_result(run)]
    return len(runs) >= FEWEST_RUNS and not any(map(values_of, runs))
