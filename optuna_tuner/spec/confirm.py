"""What is measured again when the search is over, and how much of a gain counts."""

from __future__ import annotations

from pydantic import BaseModel, Field

from optuna_tuner.spec.space import STRICT

NEEDS_BASELINE = "needs the baseline, which the winner is measured against: leave this out"
MOST_RERUNS = 2  # of each of the best: the second one only where they are close


class Confirm(BaseModel):
    """The best are measured again, then winner and default in pairs: that gives the verdict and the reported gain.

    These runs come on top of `budget.trials`. `confirm: {}` is the section with its defaults.
    """

    model_config = STRICT

    top: int = Field(
        default=3,
        ge=1,
        le=20,
        description="So many of the best are measured again, once or where they are close twice, before the winner is "
        "chosen.",
    )
    pairs: int = Field(
        default=5,
        ge=2,
        le=100,
        description="Times that winner and default are measured back to back, each on a server of its own.",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Of the interval of the gain, 0.5 to 1.")
    min_gain: float = Field(
        default=0.01, ge=0, lt=1, description="The smallest gain that counts, as a share: 0.01 is 1 %."
    )
    simplify: int = Field(
        default=0,
        ge=0,
        le=20,
        description="After a win, up to so many configurations with fewer flags are measured in pairs with the "
        "winner; the last one that keeps the gain is recommended. Only for one objective.",
    )
