"""A look at the server now and then while it is measured: what limits it cannot be told from its speed alone.

Nothing here may fail a trial or disturb it: looks are taken in a thread of their own, one that took long makes the next
one come later, and what cannot be seen is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock

from optuna_tuner.clock import epoch, now
from optuna_tuner.tuning.deployment import Server
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.looks import Look, Looks
from optuna_tuner.tuning.pulse import Pulse
from optuna_tuner.tuning.sights import Sight, sights
from optuna_tuner.values import Measurement, Metrics

RARELY = 5  # looking takes no more than a fifth of the time, however long a look takes
LAST_LOOK_S = 3.0  # is waited for at the end


class Watch:
    """What is seen beside one trial's load levels."""

    def __init__(self, sights: tuple[Sight, ...], journal: Journal) -> None:
        self._sights, self._journal = sights, journal
        self._lock = Lock()
        self._looks = Looks()
        self._due = 0.0

    def begin(self) -> None:
        """Look for the first time, before there is a load. It loads libraries: its time tells nothing of others."""
        self.look()
        self._due = 0.0

    def look(self) -> None:
        """Look at everything, unless it is too early."""
        began = now()
        if began < self._due:
            return
        values: dict[str, float] = {}
        for sight in self._sights:
            values.update(sight.look())
        took_s = now() - began
        self._due = began + RARELY * took_s
        with self._lock:
            self._looks.add(Look(at=epoch(), took_s=took_s, values=values))

    def beside(self, measurement: Measurement) -> Measurement:
        """The measurement with what was seen since the last one. The looks themselves go into the trial's folder."""
        return replace(measurement, seen=self._cut(str(measurement.load)))

    def _cut(self, load: str) -> Metrics:
        with self._lock:
            looks, self._looks = self._looks, Looks(before=self._looks.last or self._looks.before)
        self._journal.looked([{"load": load, **look.line} for look in looks.kept])
        return looks.summary()

    def close(self) -> None:
        """Keep what was seen of a level that did not come to its end, and look no more."""
        self._cut("")
        for sight in self._sights:
            sight.close()


@contextmanager
def watching(server: Server, journal: Journal) -> Iterator[Watch]:
    """Look while this lasts, every `limits.watch_every_s` seconds; never for 0."""
    every_s = server.setting.spec.limits.watch_every_s
    watch = Watch(sights(server) if every_s else (), journal)
    pulse = Pulse("looks", watch.look, every_s)
    if every_s:
        watch.begin()
        pulse.start()
    try:
        yield watch
    finally:
        pulse.close(LAST_LOOK_S)
        watch.close()
