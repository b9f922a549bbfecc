"""The most load that one warm server sustains: which load to measure next, and which one it is.

Pure. Attainment is taken to fall as the load grows, so what was measured is made monotone first: by isotonic regression
(pool adjacent violators; R. E. Barlow et al., "Statistical Inference under Order Restrictions", 1972), each load
weighted by how often it was measured. Then: double until the SLO is missed, and halve the gap on a logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from optuna_tuner.load_range import LoadRange
from optuna_tuner.values import Load

CLOSE = 0.1  # of its bound: what was measured so near to it may be on the other side the next time
TIMES = 2  # that a load so near to the bound is measured
STRIDE = 2.0  # from one load to the next, until the bound is between two
NEAR_STRIDE = (
    1.25  # the first one from the best load so far: most servers that are tried differ little; then its square
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One measurement: the load, and how far its worst constraint was exceeded, relative; zero or less is kept."""

    load: float
    excess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """All probes of one load: their mean excess, and what that is once it may not fall as the load grows."""

    load: float
    times: int
    excess: float
    fitted: float

    @property
    def kept(self) -> bool:
        """Whether the load is sustained."""
        return self.fitted <= 0

    @property
    def is_doubtful(self) -> bool:
        """Whether one more measurement may change the mind."""
        return abs(self.excess) < CLOSE and self.times < TIMES


def steps_of(probes: Sequence[Probe]) -> tuple[Step, ...]:
    """The loads that were probed, in their order."""
    by_load: dict[float, list[float]] = {}
    for probe in sorted(probes, key=lambda each: each.load):
        by_load.setdefault(probe.load, []).append(probe.excess)
    means = [(sum(each) / len(each), len(each)) for each in by_load.values()]
    return tuple(
        Step(load=load, times=times, excess=mean, fitted=fitted)
        for load, (mean, times), fitted in zip(by_load, means, _rising(means), strict=True)
    )


def _rising(means: Sequence[tuple[float, int]]) -> list[float]:
    """The nearest values in the sense of weighted least squares that do not fall: pool adjacent violators."""
    blocks: list[tuple[float, int, int]] = []  # mean, weight, members
    for mean, weight in means:
        block = (mean, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            before = blocks.pop()
            both = before[1] + block[1]
            block = ((before[0] * before[1] + block[0] * block[1]) / both, both, before[2] + block[2])
        blocks.append(block)
    return [mean for mean, _, members in blocks for _ in range(members)]


def sustained(probes: Sequence[Probe]) -> float | None:
    """The highest load that was probed and is sustained; None where none is. Its own mean excess is never positive."""
    return max((step.load for step in steps_of(probes) if step.kept), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSearch:
    """The search of one trial.

    Attributes:
        range: where it looks.
        rival: the most load that another server of the study sustains; None while there is none.
        rough: whether a server that does not reach the rival is worth less for it. It is then looked at only as closely
            as it is far behind.

    """

    range: LoadRange
    rival: float | None = None
    rough: bool = False

    def next(self, probes: Sequence[Probe]) -> Load | None:
        """The load to measure next; None when the search has ended."""
        if len(probes) >= self.range.probes:
            return None
        if not probes:
            return self._first()
        kept, missed = _bracket(steps_of(probes))
        if missed is None:
            return self._further(kept, probes)
        if kept is None:
            return self._nearer(missed, probes)
        return self._between(kept, missed)

    def _first(self) -> Load:
        """The rival's load, else the middle of the range: the middle of its logarithm."""
        return self.range.at(self.rival or sqrt(self.range.low.value * self.range.high.value))

    def _further(self, kept: Step | None, probes: Sequence[Probe]) -> Load | None:
        if kept is None or kept.load >= self.range.high.value:
            return self._again(kept)
        return self._apart(kept.load, kept.load * self._stride(probes), 1)

    def _nearer(self, missed: Step, probes: Sequence[Probe]) -> Load | None:
        if missed.load <= self.range.low.value:
            return self._again(missed)
        return self._apart(missed.load, missed.load / self._stride(probes), -1)

    def _stride(self, probes: Sequence[Probe]) -> float:
        loads = len({probe.load for probe in probes})
        return STRIDE if self.rival is None else NEAR_STRIDE ** (2 ** (loads - 1))

    def _apart(self, here: float, there: float, step: int) -> Load:
        """At least one request in flight from here."""
        if self.range.whole and round(there) == here:
            there = here + step
        return self.range.at(there)

    def _between(self, kept: Step, missed: Step) -> Load | None:
        middle = self.range.at(sqrt(kept.load * missed.load))
        if missed.load > kept.load * (1 + self._width(missed)) and kept.load < middle.value < missed.load:
            return middle
        return None if self._is_behind(missed) else self._again(kept, missed)

    def _width(self, missed: Step) -> float:
        behind = (self.rival or 0.0) / missed.load - 1 if self._is_behind(missed) else 0.0
        return max(self.range.precision, behind)

    def _is_behind(self, missed: Step) -> bool:
        return self.rough and self.rival is not None and missed.load < self.rival

    def _again(self, *ends: Step | None) -> Load | None:
        """The end that is nearest to the bound, while it is too near to be sure."""
        doubtful = [end for end in ends if end is not None and end.is_doubtful]
        nearest = min(doubtful, key=lambda end: abs(end.excess), default=None)
        return None if nearest is None else self.range.at(nearest.load)

    def told(self, probes: Sequence[Probe], *, in_time: bool = True) -> str:
        """How it ended, for people."""
        count = f"{len(probes)} probe{'s' if len(probes) > 1 else ''}"
        if not in_time:
            count += ", then limits.benchmark_s was over"
        elif len(probes) >= self.range.probes:
            count += ", no more are allowed"
        return f"{self._found(*_bracket(steps_of(probes)))} ({count})"

    def _found(self, kept: Step | None, missed: Step | None) -> str:
        kind, ends = self.range.low.kind.value, (self.range.low.value, self.range.high.value)
        if missed is None:
            still = f"the SLO is still kept at {kind}={kept.load:g}" if kept else "nothing is known"
            return f"{still}, the highest load of the range: raise `high`" if kept and kept.load >= ends[1] else still
        if kept is None:
            lowest = ", the lowest load of the range" if missed.load <= ends[0] else ""
            return f"the SLO is missed already at {kind}={missed.load:g}{lowest}"
        both = f"the SLO is kept at {kind}={kept.load:g} and missed at {missed.load:g}"
        behind = f"; behind the best so far, {self.rival:g}: not looked at more closely" if self.rival else ""
        return both + (behind if self._is_behind(missed) else "")


def _bracket(steps: Sequence[Step]) -> tuple[Step | None, Step | None]:
    """The highest load that is sustained, and the lowest that is not; they are neighbours."""
    kept = [step for step in steps if step.kept]
    missed = [step for step in steps if not step.kept]
    return kept[-1] if kept else None, missed[0] if missed else None
