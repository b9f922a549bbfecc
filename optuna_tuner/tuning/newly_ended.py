"""Which attempts of a study have ended since the last look: each is read about once, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.store.store import Store

PAGE = 8  # attempts that are read at once: about as many as end between two looks of one worker


class NewlyEnded:
    """Iterate again and again: it yields each ended attempt of the study once."""

    def __init__(self, store: Store, study_id: str) -> None:
        self._store, self._study_id = store, study_id
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[AttemptRecord]:
        """Those that were not seen before, the newest first."""
        for attempt in self._latest():
            if attempt.id not in self._seen:
                yield attempt
                self._seen.add(attempt.id)  # only now: who fails with one gets it again

    def _latest(self) -> Sequence[AttemptRecord]:
        """Enough of the last ones to hold all new ones, also those that a host with a slow clock ended meanwhile."""
        count = PAGE
        while True:
            found = self._store.attempts.last_ended(self._study_id, count)
            if len(found) < count or sum(each.id in self._seen for each in found) >= PAGE // 2:
                return found
            count *= 2
