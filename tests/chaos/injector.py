"""Who is struck by what, and when: evenly over all cells of the matrix, at the pace of the trials.

A fault counts only when it has landed: its victim lived, and its phase is known. The injector looks at everything again
and again, takes of all that it sees the victim and the fault whose cell (kind x phase) was hit least, and strikes.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from raw_rows import Away
from scene import Hit, Kind, Scene
from watch import Victim

AGAIN_S = 0.2  # before the same is tried on the same worker once more
AHEAD = 8  # faults before their time
MOST_STOPPED = 3  # of eight workers: the others must be there to notice
LAST_WAIT_S = 30.0
TICK_S = 0.04


@dataclass(slots=True)
class Injector:
    """Strikes, and keeps count of what landed."""

    scene: Scene
    kinds: tuple[Kind, ...]
    faults: int
    trials: int
    cell: int
    landed: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    pending: list[tuple[Kind, Victim, Hit]] = field(default_factory=list)
    _hurt: set[str] = field(default_factory=set)  # attempts that have had theirs; two at once would hide each other
    _in_vain: dict[tuple[str, str], float] = field(default_factory=dict)  # when a kind was last tried on a worker

    @property
    def count(self) -> int:
        """How many faults have landed."""
        return sum(self.landed.values())

    def tick(self, done: int) -> None:
        """One look, and a strike at whoever offers the cell that needs it most. `done`: trials that have ended."""
        with suppress(Away):
            self._settle()
            victims = self.scene.watch.look()
            ready = [kind for kind in self.kinds if kind.ready(self.scene)]
            offers = [(kind, victim) for victim in victims for kind in ready if self._fits(kind, victim)]
            wanted = [offer for offer in offers if self._is_wanted(*offer, done / self.trials)]
            if wanted:
                self._strike(*min(wanted, key=lambda offer: (self._cell(*offer), self.scene.chance.random())))

    def _fits(self, kind: Kind, victim: Victim) -> bool:
        if victim.phase not in kind.phases or any(victim.worker == each.worker for _, each, _ in self.pending):
            return False
        if time.monotonic() < self._in_vain.get((kind.name, victim.worker), 0.0) + AGAIN_S:
            return False
        if not kind.possible(self.scene, victim):
            return False
        stopped = sum(each.name == "worker SIGSTOP" for each, _, _ in self.pending)
        full = kind.name == "worker SIGSTOP" and stopped >= MOST_STOPPED
        return kind.whole or not (full or victim.attempt in self._hurt)

    def _is_wanted(self, kind: Kind, victim: Victim, progress: float) -> bool:
        """Whether it is this cell's turn: all fill evenly, at the pace of the trials; what is rare is never let go."""
        count, behind = self._cell(kind, victim), self.faults * progress + AHEAD - self.count - len(self.pending)
        if (victim.phase == "claim" or kind.fleeting) and count < self.cell:
            return True
        share = self.faults / sum(len(each.phases) for each in self.kinds)
        return behind > 0 and (count < share * progress + 1 or behind > 2 * AHEAD)

    def _cell(self, kind: Kind, victim: Victim) -> int:
        waiting = sum((each.name, other.phase) == (kind.name, victim.phase) for each, other, _ in self.pending)
        return self.landed[kind.name, victim.phase] + waiting

    def _strike(self, kind: Kind, victim: Victim) -> None:
        hit = kind.strike(self.scene, victim)
        if hit is None:
            self.missed[kind.name] += 1
            self._in_vain[kind.name, victim.worker] = time.monotonic()
            return
        if not kind.whole and victim.attempt:
            self._hurt.add(victim.attempt)
        if hit.look is None:
            self._count(kind, hit.phase)
        else:
            self.pending.append((kind, victim, hit))

    def _settle(self) -> None:
        """Look what has become of the strikes that could not be counted at once."""
        for item in tuple(self.pending):
            kind, _, hit = item
            phase = hit.look() if hit.look else hit.phase
            if phase is None and not hit.late:
                continue
            self.pending.remove(item)
            if phase is None and hit.missed:
                hit.missed()
            self._count(kind, phase or "")

    def _count(self, kind: Kind, phase: str) -> None:
        if phase in kind.phases:
            self.landed[kind.name, phase] += 1
        else:
            self.missed[kind.name] += 1

    def end(self) -> None:
        """Wait for the strikes that are still out, and take back what must not stay."""
        end = time.monotonic() + LAST_WAIT_S
        while self.pending and time.monotonic() < end:
            self.scene.log.read()
            with suppress(Away):
                self._settle()
            time.sleep(TICK_S)
        for take_back in self.scene.undo:
            take_back()
