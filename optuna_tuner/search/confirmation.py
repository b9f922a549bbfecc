"""What pairs of one configuration and the default say: estimates, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.search.gain import FEWEST_PAIRS, Decision, Estimate, decide, estimate
from optuna_tuner.search.pairs import Pair, Pairs
from optuna_tuner.search.reruns import settings
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What the pairs of winner and default say.

    `winner` is the run by which the search came to it; of a simpler configuration, which was measured against the
    winner, the first of those pairs.
    `estimates` and `decisions` have one place for each objective. `kept` and `default_kept` count the pairs in which
    each kept every constraint.
    """

    winner: AttemptRecord
    pairs: tuple[Pair, ...]
    wanted: int
    confidence: float
    estimates: tuple[Estimate | None, ...]
    decisions: tuple[Decision, ...]
    kept: int
    default_kept: int


def confirmed(spec: StudySpec, winner: AttemptRecord, measured: Pairs) -> Confirmation:
    """What these pairs say so far."""
    pairs, wanted = measured.done, settings(spec)
    estimates = tuple(_estimate(spec, pairs, place) for place in range(len(spec.goals.objectives)))
    kept, default_kept = (
        sum(half is not None and half.outcome is not None and half.outcome.feasible for half in halves)
        for halves in ([pair.winner for pair in pairs], [pair.default for pair in pairs])
    )
    return Confirmation(
        winner=winner,
        pairs=tuple(pairs),
        wanted=len(pairs) if spec.gate else wanted.pairs,  # a gate ends as soon as it is settled
        confidence=wanted.confidence,
        estimates=estimates,
        decisions=tuple(
            with_promise(decide(each, wanted.min_gain), len(pairs), kept, default_kept) for each in estimates
        ),
        kept=kept,
        default_kept=default_kept,
    )


def _estimate(spec: StudySpec, pairs: Sequence[Pair], place: int) -> Estimate | None:
    """From the pairs in which both were measured."""
    both = [(values_of(pair.winner), values_of(pair.default)) for pair in pairs]
    numbers = [(ours[place], theirs[place]) for ours, theirs in both if ours and theirs]
    return estimate(
        [ours for ours, _ in numbers],
        [theirs for _, theirs in numbers],
        maximize=spec.goals.objectives[place].direction == "maximize",
        confidence=settings(spec).confidence,
    )


def values_of(run: AttemptRecord | None) -> Sequence[float]:
    """The objectives that a run gave; none where it did not come so far."""
    outcome = run.outcome if run else None
    return outcome.values if outcome is not None and outcome.verdict is Verdict.COMPLETE else ()


def with_promise(by_gain: Decision, pairs: int, kept: int, default_kept: int) -> Decision:
    """No win without the promise: who breaks it in more than half of the runs has lost, who ever breaks it not won.

    Where the default breaks it in more than half of them, and the winner never does, there is nothing to compare.
    """
    if pairs < FEWEST_PAIRS:
        return Decision.INCONCLUSIVE
    if 2 * kept < pairs:
        return Decision.LOSS
    if kept < pairs:
        return Decision.LOSS if by_gain is Decision.LOSS else Decision.INCONCLUSIVE
    return Decision.WIN if 2 * default_kept < pairs else by_gain
