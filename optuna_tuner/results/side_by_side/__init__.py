"""Two trials side by side, of one study or of two: what was asked, what it gave, and under which circumstances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.metrics import METRICS, SUSTAINED
from optuna_tuner.results.tables import Cell
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView

CONFIDENCE = 0.95
COMPARED = {**METRICS, **SUSTAINED}  # metrics of a trial
FEWEST_RUNS = 2  # one run says nothing of the noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A trial, and all runs of its study that measured the same configuration at the same load, itself among them."""

    study: StudyView
    trial: TrialView
    runs: tuple[TrialView, ...]

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{self.study.name}/{self.trial.number}"

    def values(self, metric: str) -> Sequence[float]:
        """One a run, in the metric's unit."""
        return [run.metrics[metric] for run in self.runs if metric in run.metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One flag, value or circumstance; None: left to the engine, not told, or not there."""

    name: str
    first: Cell
    second: Cell

    @property
    def differs(self) -> bool:
        """1 and true are not the same; 1 and 1.0 are."""
        kinds = isinstance(self.first, bool), isinstance(self.second, bool)
        return self.first != self.second or kinds[0] != kinds[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A metric on both sides: means over the runs, and the second's change against the first as a share.

    `low` and `high` hold the change with 95 % confidence (Welch's interval of the runs' logarithms, not paired); None
    where a side has one run, or a value that is not above zero.
    """

    metric: str
    first: float
    second: float
    runs: tuple[int, int]
    share: float | None  # None where the first is zero
    low: float | None = None
    high: float | None = None

    @property
    def meaning(self) -> str:
        """`better`, `worse`, or what is not known."""
        if self.share is None or self.share == 0:
            return ""
        if self.low is None or self.high is None:
            return f"{self._side(self.share)}, if it is no noise"
        return "no difference shown" if self.low <= 0 <= self.high else self._side(self.share)

    def _side(self, share: float) -> str:
        rises = COMPARED[self.metric].better == "higher"
        return "better" if (share > 0) is rises else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All of it. `warnings` say why figures may not compare."""

    first: Side
    second: Side
    flags: tuple[Setting, ...]
    metrics: tuple[Change, ...]
    resolved: tuple[Setting, ...]  # what both servers said of themselves
    circumstances: tuple[Setting, ...]
    warnings: tuple[str, ...]
