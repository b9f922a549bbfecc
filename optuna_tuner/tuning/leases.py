"""Which workers fell silent, judged by the watcher's own monotonic clock: wall clocks of two hosts never meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from optuna_tuner.clock import now
from optuna_tuner.store.records import WorkerRecord

LOOK_EVERY_S = 5.0
LOOKS_A_LEASE = 12  # at least: nobody is dead because two looks happened to find the same beat


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    beat: int
    silent_s: float
    at: float


class Leases:
    """How long each worker's beat has stood still, counting only what was looked at.

    A longer pause between two looks was ours, or the database's, and proves no silence: of each pause at most twice
    the usual one counts.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self.look_every_s = min(LOOK_EVERY_S, lease_s / LOOKS_A_LEASE)
        self._lock = Lock()
        self._seen: dict[str, _Seen] = {}

    def look(self, workers: Iterable[WorkerRecord]) -> None:
        """Take notice of all workers that nobody retired, as they were just read."""
        with self._lock:
            self._seen = {worker.id: self._look_at(worker) for worker in workers}

    def _look_at(self, worker: WorkerRecord) -> _Seen:
        seen, at = self._seen.get(worker.id), now()
        if seen is None or seen.beat != worker.beat:
            return _Seen(beat=worker.beat, silent_s=0.0, at=at)
        silent_s = seen.silent_s + min(at - seen.at, 2 * self.look_every_s)
        return _Seen(beat=worker.beat, silent_s=silent_s, at=at)

    def is_over(self, worker: WorkerRecord) -> bool:
        """Whether this beat of the worker was seen to stand still for a whole lease."""
        seen = self._seen.get(worker.id)
        return seen is not None and seen.beat == worker.beat and seen.silent_s > self._lease_s
