"""Whether a confirmed winner has held: judged from pairs of now against pairs of then, as few as it takes.

The winner is judged against the default, now as then: what a machine does to both alike drops out. A verdict needs the
whole interval on one side of what is allowed. The pairs are looked at three times; what the confidence leaves open is
shared out over the looks (Bonferroni), so that all together are wrong as seldom as one would be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from optuna_tuner.search.confirmation import values_of
from optuna_tuner.search.pairs import Pair, Pairs
from optuna_tuner.search.reruns import best_few, gave_result, settings
from optuna_tuner.search.shift import Shift, logs, ratios, shift_of
from optuna_tuner.spec.recheck import FEWEST_RUNS, Gate, Runs
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, WorkerRecord

# Looks, as shares of the most pairs, and the share of the error that each may make. Most of it is for the last one: so
# a noise of 2 % is borne, and a quiet machine is done at the first (benchmarks/gates.py).
LOOKS = ((0.2, 0.1), (0.4, 0.2), (1.0, 0.7))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """What is known so far. `reason` is None while more pairs are to tell.

    `pairs` count, of at most `most`; in `kept` of them the winner kept every constraint. `against_default` is what the
    winner lost or gained beside the default, `winner` and `default` what each did by itself, all since then and with
    the study's confidence; the verdict itself asks for more at the first looks.
    """

    reason: Reason | None
    pairs: tuple[Pair, ...]
    most: int
    kept: int
    confidence: float
    against_default: Shift | None
    winner: Shift | None
    default: Shift | None

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
    look = _Look(spec, spec.gate, done)
    if _is_lost([each for each in attempts if each.kind is AttemptKind.BASELINE]):
        reason: Reason | None = Reason.NO_DEFAULT
    elif _never_starts(candidates[0].first if candidates else None, done):
        reason = Reason.NO_START
    else:
        reason = next(filter(None, (look.reason(*each) for each in looks(spec))), None)
    return Gated(
        reason=reason,
        pairs=tuple(done),
        most=settings(spec).pairs,
        kept=look.kept(len(done)),
        confidence=settings(spec).confidence,
        against_default=look.against_default(len(done), settings(spec).confidence),
        winner=look.winner(len(done)),
        default=look.default(len(done)),
    )


def looks(spec: StudySpec) -> Sequence[tuple[int, float]]:
    """After how many pairs they are looked at, and how much error each look may make on either side."""
    most, error = settings(spec).pairs, 1 - settings(spec).confidence
    found: dict[int, float] = {}
    for when, share in LOOKS:
        pairs = max(FEWEST_RUNS, round(when * most))
        found[pairs] = found.get(pairs, 0.0) + share * error
    return tuple(found.items())


def pairs_wanted(spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord]) -> int:
    """Up to the next look; none more when it is settled."""
    found = gated(spec, attempts, workers)
    if found is None or found.reason is not None:
        return 0
    return next((pairs for pairs, _ in looks(spec) if pairs > len(found.pairs)), 0)


@dataclass(frozen=True, slots=True)
class _Look:
    """At the first so many pairs, by the first objective."""

    spec: StudySpec
    gate: Gate
    done: Sequence[Pair]

    def reason(self, pairs: int, error: float) -> Reason | None:
        """Settled by the first so many pairs, wrongly in at most this share of cases on either side; else None."""
        if len(self.done) < pairs:
            return None
        last = pairs == settings(self.spec).pairs
        if self._breaks_more(pairs):
            return Reason.BROKEN_PROMISE
        speed = self._speed(pairs, error)
        if speed is None:
            return Reason.NOISE if last else None
        worse = self.kept(pairs) * self.gate.pairs < self.gate.kept * pairs
        if speed.held is Held.HELD and worse:
            return Reason.PROMISE_IN_DOUBT if last else None
        return speed

    def _speed(self, pairs: int, error: float) -> Reason | None:
        found, alone = self.against_default(pairs, 1 - 2 * error), self.winner(pairs)
        allowed = -self.gate.max_regression
        if found is None or alone is None:
            return None
        if found.low > allowed:
            return Reason.BOTH_SLOWER if alone.high < allowed else Reason.HOLDS
        if found.high < allowed:
            return Reason.DEFAULT_FASTER if alone.low > allowed else Reason.SLOWER
        return None

    def against_default(self, pairs: int, confidence: float) -> Shift | None:
        """Beside the default, then and now."""
        then = ratios(self._then(self.gate.winner), self._then(self.gate.default))
        ours, theirs = self._now(pairs)
        return self._shift(then, ratios(ours, theirs), confidence)

    def winner(self, pairs: int) -> Shift | None:
        """By itself."""
        return self._shift(logs(self._then(self.gate.winner)), logs(self._now(pairs)[0]))

    def default(self, pairs: int) -> Shift | None:
        """By itself."""
        return self._shift(logs(self._then(self.gate.default)), logs(self._now(pairs)[1]))

    def kept(self, pairs: int) -> int:
        """The pairs in which the winner kept every constraint."""
        halves = (pair.winner for pair in self.done[:pairs])
        return sum(half is not None and half.outcome is not None and half.outcome.feasible for half in halves)

    def _breaks_more(self, pairs: int) -> bool:
        """More often than then, by more than chance explains (Fisher's exact test, one-sided)."""
        kept, then = self.kept(pairs), self.gate
        if kept * then.pairs >= then.kept * pairs:
            return False
        all_kept, all_runs = kept + then.kept, pairs + then.pairs
        chance = math.fsum(
            math.comb(pairs, now) * math.comb(then.pairs, all_kept - now) for now in range(kept + 1) if now <= all_kept
        ) / math.comb(all_runs, all_kept)
        return chance <= (1 - settings(self.spec).confidence) / len(LOOKS)

    def _now(self, pairs: int) -> tuple[Sequence[float], Sequence[float]]:
        """Of the pairs in which both were measured."""
        both = [(values_of(pair.winner), values_of(pair.default)) for pair in self.done[:pairs]]
        whole = [(ours[0], theirs[0]) for ours, theirs in both if ours and theirs]
        return [ours for ours, _ in whole], [theirs for _, theirs in whole]

    def _then(self, runs: Mapping[str, Runs]) -> Sequence[float]:
        return runs[self.spec.goals.objectives[0].metric]

    def _shift(
        self, then: Sequence[float] | None, now: Sequence[float] | None, confidence: float | None = None
    ) -> Shift | None:
        maximize = self.spec.goals.objectives[0].direction == "maximize"
        return shift_of(then, now, maximize=maximize, confidence=confidence or settings(self.spec).confidence)


def _is_lost(runs: Sequence[AttemptRecord]) -> bool:
    """Whether they have all ended, and the last one without figures."""
    return bool(runs) and all(each.state is AttemptState.ENDED for each in runs) and not values_of(runs[-1])


def _never_starts(first: AttemptRecord | None, pairs: Sequence[Pair]) -> bool:
    """Whether the winner was tried twice and more, and never gave a figure."""
    runs = [run for run in (first, *(pair.winner for pair in pairs)) if run is not None and gave_result(run)]
    return len(runs) >= FEWEST_RUNS and not any(map(values_of, runs))
