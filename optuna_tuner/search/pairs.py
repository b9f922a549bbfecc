"""Winner and default, measured back to back: which pairs there are, and which half of which comes next.

Both halves of a pair run one after the other on the same slot of the same machine, each on a server of its own. The
default begins every second pair, so that what changes from run to run favours neither. A pair whose halves came to lie
on two slots, or one of which gave no result, is void, and another takes its place.

A configuration with fewer flags is measured in the same way against the winner, which then has the default's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from optuna_tuner.search.reruns import gave_result
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, Extra, WorkerRecord
from optuna_tuner.values import Params

DEFAULT = Params()  # as in the baseline: everything is left to the engine
MOST_PAIRS = 2  # times what is wanted: a machine that spoils every other pair is not waited for


class PairState(Enum):
    """How far a pair is."""

    DONE = "done"
    OPEN = "open"
    VOID = "void"  # it will never be done


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The last try of each half; None where it was not begun."""

    number: int
    default: AttemptRecord | None
    winner: AttemptRecord | None

    @property
    def halves(self) -> tuple[AttemptRecord, ...]:
        """Those that were begun."""
        return tuple(half for half in (self.default, self.winner) if half is not None)


class Pairs:
    """The pairs of one configuration and the default, or another `reference`, and the workers that measured them."""

    def __init__(
        self,
        winner: Params,
        attempts: Sequence[AttemptRecord],
        workers: Sequence[WorkerRecord],
        reference: Params = DEFAULT,
    ) -> None:
        self._winner, self._reference = winner, reference
        self._places = {worker.id: worker.place for worker in workers}
        self._manned = {worker.place for worker in workers if not worker.retired}
        runs = [each for each in attempts if each.kind is AttemptKind.CONFIRM and each.pair is not None]
        self._last = max((each.pair or 0 for each in runs), default=0)
        self.all = self._pairs(runs)

    def _pairs(self, runs: Sequence[AttemptRecord]) -> Sequence[Pair]:
        """Of these two; the half of a pair that has no other yet is anybody's."""
        followed = {each.retry_of for each in runs}
        found: dict[int, dict[str, AttemptRecord]] = {}
        for run in runs:
            if run.pair is not None and run.params is not None and run.id not in followed:
                found.setdefault(run.pair, {})[run.params.key] = run
        default, winner = self._reference.key, self._winner.key
        return [
            Pair(number=number, default=halves.get(default), winner=halves.get(winner))
            for number, halves in found.items()
            if halves.keys() <= {default, winner}
        ]

    def state(self, pair: Pair) -> PairState:
        """A half that waits or runs may still be tried elsewhere; where both ended is what counts."""
        ended = [half for half in pair.halves if half.state is AttemptState.ENDED]
        if not all(map(gave_result, ended)):
            return PairState.VOID
        if len(ended) < len(pair.halves):
            return PairState.OPEN
        places = {self._place(half) for half in ended}
        if len(ended) == 2:  # noqa: PLR2004  both halves
            return PairState.DONE if len(places) == 1 else PairState.VOID
        return PairState.OPEN if places & self._manned else PairState.VOID

    @cached_property
    def done(self) -> Sequence[Pair]:
        """The pairs that count."""
        return [pair for pair in self.all if self.state(pair) is PairState.DONE]

    def is_over(self, wanted: int) -> bool:
        """Whether there are so many, or there will be no more."""
        is_open = any(self.state(pair) is PairState.OPEN for pair in self.all)
        return len(self.done) >= wanted or (not is_open and self.next_half(wanted, None) is None)

    def next_half(self, wanted: int, worker_id: str | None) -> Extra | None:
        """The half that this worker is to measure: the other one of its pair, else the first of a new pair.

        For nobody in particular (None): any that is to be measured by somebody. None when there is none now.
        """
        if len(self.done) >= wanted:
            return None  # a half that waits is another configuration's
        here = None if worker_id is None else self._places.get(worker_id)
        left = [pair for pair in self.all if self.state(pair) is PairState.OPEN]
        for pair in left:
            half = pair.halves[0]
            waits = len(pair.halves) == 1 and half.state is AttemptState.ENDED
            if waits and here in {None, self._place(half)}:
                return self._half(pair.number, default=pair.default is None)
        if len(self.done) + len(left) >= wanted or len(self.all) >= MOST_PAIRS * wanted:
            return None
        return self._half(self._last + 1, default=self._last % 2 == 0)

    def _half(self, number: int, *, default: bool) -> Extra:
        return Extra(kind=AttemptKind.CONFIRM, params=self._reference if default else self._winner, pair=number)

    def _place(self, half: AttemptRecord) -> tuple[str, str, str] | None:
        return self._places.get(half.worker_id or "")
