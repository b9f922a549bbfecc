"""What was seen of one load level, again and again: bounded, and summed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optuna_tuner.metrics import SEEN_COUNTS, SEEN_GAUGES
from optuna_tuner.values import Json, Metrics

MOST = 240  # looks of one level that are kept
BUSY = ("server_running_requests", "server_waiting_requests")
FOUND, SOUGHT = "server_prefix_hits", "server_prefix_queries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one moment: gauges as they were, counts since the server's start."""

    at: float  # seconds since 1970
    took_s: float
    values: Metrics

    @property
    def line(self) -> Mapping[str, Json]:
        """As a line of JSON."""
        return {"at": round(self.at, 3), "look_ms": round(1000 * self.took_s, 3), **self.values}


@dataclass(slots=True)
class Looks:
    """The looks of one level. Once there are too many, every second one is dropped, and from then on is not kept.

    `before` is the last look of the level before, from which counts go on.
    """

    before: Look | None = None
    kept: list[Look] = field(default_factory=list)
    last: Look | None = None
    _count: int = 0
    _every: int = 1
    _highest: dict[str, float] = field(default_factory=dict)

    def add(self, look: Look) -> None:
        """Take one in."""
        for name, value in look.values.items():
            self._highest[name] = max(value, self._highest.get(name, value))
        if self._count % self._every == 0:
            self.kept.append(look)
        self._count += 1
        self.last = look
        if len(self.kept) > MOST:
            del self.kept[1::2]
            self._every *= 2

    def summary(self) -> Metrics:
        """By the names of `optuna_tuner.metrics.SEEN`; empty where nothing was seen."""
        busy = self._busy()
        if not busy:
            return {}
        gauges = dict(self._gauges(busy))
        counts = self._counts()
        if counts.get(SOUGHT):
            gauges["server_prefix_hit_share.mean"] = counts[FOUND] / counts[SOUGHT]
        looks = {"looks": float(len(busy)), "look_ms": 1000 * _mean([look.took_s for look in busy])}
        return {name: float(f"{value:.6g}") for name, value in {**gauges, **counts, **looks}.items()}

    def _busy(self) -> Sequence[Look]:
        """From the first to the last look at which the server had requests; all where it does not tell."""
        places = [place for place, look in enumerate(self.kept) if any(look.values.get(name) for name in BUSY)]
        tells = any(name in look.values for look in self.kept for name in BUSY)
        if not tells:
            return self.kept
        return self.kept[places[0] : places[-1] + 1] if places else []

    def _gauges(self, busy: Sequence[Look]) -> Iterator[tuple[str, float]]:
        for name in SEEN_GAUGES:
            values = [look.values[name] for look in busy if name in look.values]
            if values:
                yield f"{name}.mean", _mean(values)
                yield f"{name}.max", self._highest[name]

    def _counts(self) -> dict[str, float]:
        """How far they rose; a server that counts anew has not counted backwards."""
        first, last = self.before or self.kept[0], self.last or self.kept[-1]
        shared = [name for name in SEEN_COUNTS if name in first.values and name in last.values]
        return {name: max(0.0, last.values[name] - first.values[name]) for name in shared}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
