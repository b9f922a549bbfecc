"""How long the trial of a configuration takes, as far as those tell that ran."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import BayesianRidge

from optuna_tuner.search.encoding import Matrix, Vector

FEWEST = 5  # trials, before anything is said


class Pace:
    """Made of the points of trials and their seconds, of which some may be unknown.

    Start-up, compilation and requests each take their share, which flags lengthen or shorten by factors: so the
    logarithm is taken for linear. A trial is not believed to be shorter or longer than any that was seen.
    """

    def __init__(self, points: Matrix, took_s: Sequence[float | None]) -> None:
        known = [(place, seconds) for place, seconds in enumerate(took_s) if seconds]
        self._logs: Vector = np.log(np.array([seconds for _, seconds in known]))
        enough = len(known) >= FEWEST
        self._model = BayesianRidge().fit(points[[place for place, _ in known]], self._logs) if enough else None

    def __call__(self, points: Matrix) -> Vector:
        """How many times as long as the typical trial each one takes; 1 while too little is known."""
        if self._model is None:
            return np.ones(len(points))
        expected = np.clip(self._model.predict(points), self._logs.min(), self._logs.max())
        times: Vector = np.exp(expected - np.median(self._logs))
        return times
