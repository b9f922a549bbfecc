"""How many runs a study adds to its budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.spec.confirm import MOST_RERUNS
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraRuns:
    """The runs that a study adds to its budget, before anything is known; retries left out."""

    controls: int  # of the default between trials
    reruns: int  # of the best; twice as many at most where they are close
    pairs: int
    simpler: int  # configurations with fewer flags, at most; none without a win

    @property
    def least(self) -> int:
        """All together, where nothing is close and nothing simpler is measured."""
        return self.controls + self.reruns + 2 * self.pairs

    @property
    def most(self) -> int:
        """All together, where the best are close, and every simpler configuration is measured to its end."""
        return self.controls + MOST_RERUNS * self.reruns + 2 * self.pairs * (1 + self.simpler)


def extra_runs(spec: StudySpec, trials: int) -> ExtraRuns:
    """Those of a study that claims so many trials; the default is not measured between the last one and the pairs."""
    top = spec.confirm.top if spec.confirm else 0
    return ExtraRuns(
        controls=max(0, trials - spec.baseline - 1) // spec.baseline_every if spec.baseline_every else 0,
        reruns=spec.rerun.times - 1 if spec.rerun else top if top > 1 else 0,
        pairs=spec.confirm.pairs if spec.confirm else 0,
        simpler=spec.confirm.simplify if spec.confirm else 0,
    )


def runs_left(spec: StudySpec, trials: int, attempts: Sequence[AttemptRecord]) -> int:
    """How many of them were not begun yet, where nothing is close."""
    begun = sum(each.kind.again and each.retry_of is None for each in attempts)
    return max(0, extra_runs(spec, trials).least - begun)
