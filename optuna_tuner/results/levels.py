"""Load levels that a worker wrote down one by one: all that is left of a run whose worker was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from optuna_tuner.results.trials import TrialView
from optuna_tuner.store.artifacts import LEVELS_FILE
from optuna_tuner.store.codec import decode_measurement
from optuna_tuner.values import Measurement


def with_levels(trial: TrialView, folder: Path) -> TrialView:
    """The trial; where the database has no measurement of it, with those that lie in its folder."""
    return trial if trial.measurements else replace(trial, measurements=tuple(_levels(folder / LEVELS_FILE)))


def _levels(file: Path) -> Iterator[Measurement]:
    """Up to a line that a crash cut off; nothing where there is no file."""
    with suppress(OSError, ValueError, KeyError, TypeError), file.open(encoding="ascii") as lines:
        for line in lines:
            yield decode_measurement(line)
