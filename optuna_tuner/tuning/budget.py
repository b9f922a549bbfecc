"""What a study has spent so far."""

from __future__ import annotations

from collections.abc import Mapping

from optuna_tuner.clock import Deadline
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.newly_ended import NewlyEnded
from optuna_tuner.values import Phase


def wall_time(spec: StudySpec) -> Deadline:
    """The end of a run that begins now."""
    return Deadline.after(spec.budget.wall_time_s or float("inf"))


class GpuTime:
    """GPU seconds that a study's ended attempts held their workers' slots for; waiting in the queue costs nothing.

    It keeps the sum: each ended attempt is read and decoded about once, however many there are.
    """

    def __init__(self, store: Store, study_id: str) -> None:
        self._store, self._ended = store, NewlyEnded(store, study_id)
        self._gpus: dict[str, int] = {}
        self._sum_s = 0.0

    def spent_s(self) -> float:
        """All that was spent until now."""
        for attempt in self._ended:
            phases_s = attempt.outcome.phases_s if attempt.outcome else {}
            self._sum_s += self._gpus_of(attempt.worker_id) * slot_time_s(phases_s)
        return self._sum_s

    def _gpus_of(self, worker_id: str | None) -> int:
        if worker_id is None:  # cancelled while it waited
            return 0
        if worker_id not in self._gpus:
            self._gpus[worker_id] = len(self._store.workers.get(worker_id).slot.gpus)
        return self._gpus[worker_id]


def slot_time_s(phases_s: Mapping[Phase, float]) -> float:
    """Seconds for which an attempt held its slot, of those of its phases."""
    return sum(seconds for phase, seconds in phases_s.items() if phase is not Phase.QUEUE)
