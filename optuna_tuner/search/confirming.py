"""What is measured again when a search is over, and what came of it.

First the best few, then winner and default in pairs. Everything is read off the attempts: so whoever asks, a worker in
the transaction of its claim or a report, comes to the same answer, and nothing has to be remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from optuna_tuner.search.gain import FEWEST_PAIRS, Decision, Estimate, decide, estimate
from optuna_tuner.search.pairs import Pair, Pairs
from optuna_tuner.search.reruns import best_few, fresh, settings, to_rerun, winner
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.claiming import Again
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Extra,
    Verdict,
    WorkerRecord,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What the pairs of winner and default say.

    `winner` is the run by which the search came to it. `estimates` and `decisions` have one place for each objective.
    `kept` and `default_kept` count the pairs in which each kept every constraint.
    """

    winner: AttemptRecord
    pairs: tuple[Pair, ...]
    wanted: int
    confidence: float
    estimates: tuple[Estimate | None, ...]
    decisions: tuple[Decision, ...]
    kept: int
    default_kept: int


def again_of(spec: StudySpec) -> Again | None:
    """What a claim asks for more runs of a study; None where it wants none."""
    return None if spec.confirm is None else partial(next_run, spec)


def next_run(
    spec: StudySpec,
    attempts: Sequence[AttemptRecord],
    workers: Sequence[WorkerRecord],
    worker_id: str | None = None,
) -> Extra | None:
    """What this worker is to measure again now that the budget is claimed; for nobody in particular, what anybody is.

    None while others must end first, where nothing can be confirmed, and when all is done.
    """
    if any(each.state is not AttemptState.ENDED for each in attempts if each.kind not in _LAST):
        return None
    candidates = best_few(spec, attempts)
    if not candidates or not _default_has_values(attempts):
        return None
    one = fresh(candidates)
    reruns = [each for each in attempts if each.kind is AttemptKind.RERUN]
    if one is None and any(each.state is not AttemptState.ENDED for each in reruns):
        return None
    one = one or to_rerun(spec, candidates)
    if one is not None:
        return Extra(kind=AttemptKind.RERUN, params=one.params)
    best = winner(spec, candidates) or candidates[0]
    return Pairs(best.params, attempts, workers).next_half(settings(spec).pairs, worker_id)


_LAST = {AttemptKind.RERUN, AttemptKind.CONFIRM}


def _default_has_values(attempts: Sequence[AttemptRecord]) -> bool:
    return any(_values(each) for each in attempts if each.kind is AttemptKind.BASELINE)


def confirmation_of(
    spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord]
) -> Confirmation | None:
    """What was confirmed so far; None where no configuration is chosen to be, or none was measured again."""
    if not any(each.kind in _LAST for each in attempts):
        return None
    best = winner(spec, best_few(spec, attempts))
    if best is None:
        return None
    pairs = Pairs(best.params, attempts, workers).done
    estimates = tuple(_estimate(spec, pairs, place) for place in range(len(spec.goals.objectives)))
    kept, default_kept = (
        sum(half is not None and half.outcome is not None and half.outcome.feasible for half in halves)
        for halves in ([pair.winner for pair in pairs], [pair.default for pair in pairs])
    )
    wanted = settings(spec)
    return Confirmation(
        winner=best.first,
        pairs=tuple(pairs),
        wanted=wanted.pairs,
        confidence=wanted.confidence,
        estimates=estimates,
        decisions=tuple(
            _with_promise(decide(each, wanted.min_gain), len(pairs), kept, default_kept) for each in estimates
        ),
        kept=kept,
        default_kept=default_kept,
    )


def _estimate(spec: StudySpec, pairs: Sequence[Pair], place: int) -> Estimate | None:
    """From the pairs in which both were measured."""
    both = [(_values(pair.winner), _values(pair.default)) for pair in pairs]
    numbers = [(ours[place], theirs[place]) for ours, theirs in both if ours and theirs]
    return estimate(
        [ours for ours, _ in numbers],
        [theirs for _, theirs in numbers],
        maximize=spec.goals.objectives[place].direction == "maximize",
        confidence=settings(spec).confidence,
    )


def _values(run: AttemptRecord | None) -> Sequence[float]:
    outcome = run.outcome if run else None
    return outcome.values if outcome is not None and outcome.verdict is Verdict.COMPLETE else ()


def _with_promise(by_gain: Decision, pairs: int, kept: int, default_kept: int) -> Decision:
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
