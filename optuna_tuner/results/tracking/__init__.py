"""A study as runs of a tracker that people have already: MLflow, Weights & Biases."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TrackerKind(StrEnum):
    """Where runs go."""

    MLFLOW = "mlflow"
    WANDB = "wandb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What was logged. `there` trials were known to the tracker already and are as they were."""

    place: str
    logged: int
    there: int
