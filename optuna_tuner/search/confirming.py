"""What is measured again when a search is over.

First the best few, then winner and default in pairs, then simpler configurations than the winner. Everything is read
off the attempts, and off what was predicted of the winner's flags, once: so whoever asks, a worker in the transaction
of its claim or a report, comes to the same answer, and nothing else has to be remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from optuna_tuner.search.confirmation import Confirmation, confirmed, values_of
from optuna_tuner.search.gain import Decision
from optuna_tuner.search.gating import pairs_wanted
from optuna_tuner.search.pairs import Pairs
from optuna_tuner.search.rerunning import next_rerun
from optuna_tuner.search.reruns import best_few, fresh, settings, to_rerun, winner
from optuna_tuner.search.simplifying import Simplification, simplification
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.claiming import Again
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, Drops, Extra, WorkerRecord


def again_of(spec: StudySpec) -> Again | None:
    """What a claim asks for more runs of a study; None where it wants none."""
    return partial(next_run, spec) if spec.confirm or spec.rerun else None


def next_run(
    spec: StudySpec,
    attempts: Sequence[AttemptRecord],
    workers: Sequence[WorkerRecord],
    drops: Drops | None = None,
    worker_id: str | None = None,
) -> Extra | None:
    """What this worker is to measure again now that the budget is claimed; for nobody in particular, what anybody is.

    None while others must end first, where nothing can be confirmed, and when all is done.
    """
    if any(each.state is not AttemptState.ENDED for each in attempts if each.kind not in _LAST):
        return None
    candidates = best_few(spec, attempts)
    if spec.rerun is not None or not candidates or not _default_has_values(attempts):
        return next_rerun(spec, attempts)
    one = fresh(candidates)
    reruns = [each for each in attempts if each.kind is AttemptKind.RERUN]
    if one is None and any(each.state is not AttemptState.ENDED for each in reruns):
        return None
    one = one or to_rerun(spec, candidates)
    if one is not None:
        return Extra(kind=AttemptKind.RERUN, params=one.params)
    best = winner(spec, candidates) or candidates[0]
    wanted = pairs_wanted(spec, attempts, workers) if spec.gate else settings(spec).pairs
    half = Pairs(best.params, attempts, workers).next_half(wanted, worker_id)
    found = None if half else simplification_of(spec, attempts, workers, drops)
    if found is not None and found.open is not None:
        return Pairs(found.open, attempts, workers, best.params).next_half(settings(spec).pairs, worker_id)
    return half


_LAST = {AttemptKind.RERUN, AttemptKind.CONFIRM}


def _default_has_values(attempts: Sequence[AttemptRecord]) -> bool:
    return any(values_of(each) for each in attempts if each.kind is AttemptKind.BASELINE)


def confirmation_of(
    spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord]
) -> Confirmation | None:
    """What was confirmed so far; None where no configuration is chosen to be, or none was measured again."""
    if spec.rerun is not None or not any(each.kind in _LAST for each in attempts):
        return None
    best = winner(spec, best_few(spec, attempts))
    return None if best is None else confirmed(spec, best.first, Pairs(best.params, attempts, workers))


def _simplifiable(
    spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord]
) -> Confirmation | None:
    """The win of which fewer flags are looked for; None where there is none, or its pairs are not all there."""
    if not settings(spec).simplify:
        return None
    found = confirmation_of(spec, attempts, workers)
    if found is None or found.winner.params is None or found.decisions[0] is not Decision.WIN:
        return None
    return found if Pairs(found.winner.params, attempts, workers).is_over(settings(spec).pairs) else None


def unthought(
    spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord], drops: Drops | None
) -> Confirmation | None:
    """The win of which nobody has predicted yet which flags may be left out; None where nobody has to."""
    found = _simplifiable(spec, attempts, workers)
    return None if found is None or (drops is not None and drops.winner == found.winner.params) else found


def simplification_of(
    spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord], drops: Drops | None
) -> Simplification | None:
    """Which simpler configurations were measured so far, and what came of it; None before it was thought of."""
    found = _simplifiable(spec, attempts, workers)
    if found is None or drops is None or drops.winner != found.winner.params:
        return None  # a search that went on may have found another winner
    return simplification(spec, drops, found, lambda params: Pairs(params, attempts, workers, drops.winner))
