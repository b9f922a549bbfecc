"""Where the most load is looked for: two ends, and the loads between them that can be measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optuna_tuner.values import Load, LoadKind


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRange:
    """The range in which each trial looks for the most load that its server sustains.

    Attributes:
        low, high: the ends, both loads of one kind and scenario.
        precision: how far a load that is too much may lie above the one that is found, as a share of it.
        probes: the most measurements of one trial.

    """

    low: Load
    high: Load
    precision: float
    probes: int

    def at(self, value: float) -> Load:
        """The nearest load of the range: whole requests in flight, rates to three digits."""
        inside = min(max(value, self.low.value), self.high.value)
        return replace(self.low, value=float(round(inside)) if self.whole else float(f"{inside:.3g}"))

    def below(self, load: Load) -> Load:
        """The next lower load that is told apart; the lowest one where there is none."""
        lower = load.value / (1 + self.precision)
        return self.at(min(lower, load.value - 1) if self.whole else lower)

    @property
    def whole(self) -> bool:
        """Whether its loads are counted."""
        return self.low.kind is LoadKind.CONCURRENCY

    @property
    def metric(self) -> str:
        """What the load that is found is called among a trial's metrics."""
        return "sustained_concurrency" if self.whole else "sustained_rate_req_s"
