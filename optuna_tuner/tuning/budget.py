"""What a study has spent so far."""

from __future__ import annotations

from collections.abc import Iterable

from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.values import Phase


def gpu_time_s(attempts: Iterable[AttemptRecord], gpus: int) -> float:
    """GPU seconds that ended attempts held their slot of `gpus` GPUs for; waiting in the queue costs nothing."""
    return gpus * sum(
        seconds
        for attempt in attempts
        if attempt.outcome is not None
        for phase, seconds in attempt.outcome.phases_s.items()
        if phase is not Phase.QUEUE
    )
