"""Simulated servers and promises for searches for the most load, each with its true load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from random import Random

from search.landscape import Configuration, Landscape
from search.simulated import Simulated

from optuna_tuner.load_range import LoadRange
from optuna_tuner.search.grid import configurations
from optuna_tuner.search.load import LoadSearch
from optuna_tuner.simulation.outcome import outcome
from optuna_tuner.values import Load, LoadKind, Metrics

ENDS = {LoadKind.CONCURRENCY: (1.0, 512.0), LoadKind.REQUEST_RATE: (0.25, 64.0)}
LOOSER = 2.0  # promises are those of the landscape, times a factor between this and its inverse
EXACT = 1.002  # of a rate's truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One server under one promise.

    Attributes:
        landscape: model, machine, traffic and promised metrics.
        flags: of the server.
        factor: of every promise.
        precision: of the search.
        known: what the simulation said.

    """

    landscape: Simulated
    flags: Configuration
    factor: float
    precision: float = 0.1
    known: dict[float, Metrics] = field(default_factory=dict, compare=False, repr=False)

    @property
    def range(self) -> LoadRange:
        """As wide as a user would take it who does not know the server."""
        kind = self.landscape.traffic.load
        low, high = (Load(kind=kind, value=value) for value in ENDS[kind])
        return LoadRange(low=low, high=high, precision=self.precision, probes=12)

    def search(self, rival: float | None = None, *, rough: bool = False) -> LoadSearch:
        """What finds it."""
        return LoadSearch(range=self.range, rival=rival, rough=rough)

    def excess(self, load: float, jitter: Callable[[], float] = lambda: 1.0) -> float:
        """Of the worst promise under this load; each metric is multiplied by a factor of its own."""
        metrics = self._metrics(load)
        promises = self.landscape.goal.at_most.items()
        return max(metrics[name] * jitter() / (bound * self.factor) - 1 for name, bound in promises)

    def _metrics(self, load: float) -> Metrics:
        if load not in self.known:
            place, traffic = self.landscape.place, replace(self.landscape.traffic, levels=(load,))
            found = outcome(self.landscape.engine, place, traffic, {**self.landscape.also, **self.flags})
            self.known[load] = found.levels[0].metrics if found.levels else {}
        return self.known[load]

    @property
    def serves(self) -> bool:
        """Whether the server runs at all."""
        return bool(self._metrics(self.range.low.value))

    def truth(self) -> float | None:
        """The most load, without noise; None where it is not within the range."""
        low, high = self.range.low.value, self.range.high.value
        if not self.serves or self.excess(low) > 0 or self.excess(high) <= 0:
            return None
        while high - low > 1 if self.range.whole else high / low > EXACT:
            middle = float((low + high) // 2) if self.range.whole else sqrt(low * high)
            low, high = (low, middle) if self.excess(middle) > 0 else (middle, high)
        return low

    def agrees(self, found: float | None) -> bool:
        """Whether it is the truth to the precision, in either direction; the next whole number is near enough."""
        truth = self.truth()
        if found is None or truth is None:
            return found == truth
        step = 1.0 if self.range.whole else 0.0
        wide = 1 + self.precision
        return min(truth / wide, truth - step) <= found <= max(truth * wide, truth + step)


def cases(landscapes: Sequence[Landscape], seed: int, count: int) -> list[Case]:
    """So many at random whose truth lies within the range: any configuration that runs, of any landscape."""
    random = Random(seed)  # noqa: S311  a choice of examples, no secret
    own = [each for each in landscapes if isinstance(each, Simulated)]
    every = [list(configurations(each.space)) for each in own]
    found: list[Case] = []
    while len(found) < count:
        place = random.randrange(len(own))
        factor = LOOSER ** random.uniform(-1, 1)
        case = Case(landscape=own[place], flags=random.choice(every[place]), factor=factor)
        if case.truth() is not None:
            found.append(case)
    return found
