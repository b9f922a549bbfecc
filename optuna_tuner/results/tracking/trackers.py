"""Kind -> what logs to it."""

from __future__ import annotations

from collections.abc import Callable

from optuna_tuner.results.tracking import Tracked, TrackerKind
from optuna_tuner.results.tracking.logbook import Logbook
from optuna_tuner.results.tracking.mlflow_runs import log_to_mlflow
from optuna_tuner.results.tracking.wandb_runs import log_to_wandb


def tracker(kind: TrackerKind) -> Callable[[Logbook, str], Tracked]:
    """What logs a study there, into a project of this name."""
    return {TrackerKind.MLFLOW: log_to_mlflow, TrackerKind.WANDB: log_to_wandb}[kind]
