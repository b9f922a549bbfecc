"""The circuit breaker: a study in which no further trial can be of use is given up, with the cause."""

from __future__ import annotations

from collections.abc import Sequence

from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.store.store import Store
from optuna_tuner.values import Blame, Cause


def give_up_if_broken(store: Store, study_id: str, same_fault: int) -> None:
    """End the study if its last `same_fault` attempts all ended alike by a fault of the machine."""
    reason = fault_in_common(store.attempts.last_ended(study_id, same_fault), same_fault)
    if reason is not None:
        store.studies.give_up(study_id, reason)


def give_up_without_answers(store: Store, study_id: str) -> None:
    """End a study whose baseline has failed, with all its tries, before it gave answers to hold the others against."""
    failed = store.attempts.failed_baseline(study_id)
    if failed is not None:
        outcome = failed.outcome
        why = f"{outcome.cause.value}: {outcome.reason}" if outcome and outcome.cause else "it ended without a word"
        store.studies.give_up(study_id, f"the engine's default gave no answers to hold the others against: {why}")


def fault_in_common(ended: Sequence[AttemptRecord], same_fault: int) -> str | None:
    """Why it is no use to go on, in a sentence; None where the attempts do not show that.

    A lost worker is no reason: its attempt says nothing of the others.
    """
    causes = {each.outcome.cause if each.outcome else None for each in ended}
    cause = causes.pop() if len(causes) == 1 else None
    if len(ended) < same_fault or cause is None or cause.blame is not Blame.MACHINE or cause is Cause.WORKER_LOST:
        return None
    last = max(ended, key=lambda each: (each.ended_at or each.created_at, each.id))
    reason = last.outcome.reason if last.outcome else ""
    return f"{same_fault} trials in a row failed by the same fault of the machine, {cause.value}: {reason}"
