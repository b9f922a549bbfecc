"""What a study file says of the choice of configurations: how the next one is found, and when one is given up."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from optuna_tuner.spec.space import LARGEST, STRICT


class Sampler(BaseModel):
    """How the next configuration is chosen."""

    model_config = STRICT

    kind: Literal["serving", "tpe", "gp", "random", "qmc", "grid", "nsga2"] = Field(
        default="serving", description="serving is made for servers' flags; the others are Optuna's; gp needs torch."
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**32 - 1, description="One worker with the same seed and scores asks the same again."
    )
    startup_trials: int = Field(
        default=4, ge=1, le=LARGEST, description="Trials that spread over the space before the sampler begins to learn."
    )
    measure_again: bool = Field(
        default=False,
        description="Measure a server again that was measured before; else its result is taken over, at no cost.",
    )
    expectations: bool = Field(
        default=True,
        description="Begin with what the engines' guides say of flags, until trials say otherwise; only serving does.",
    )


class Pruner(BaseModel):
    """When a trial is given up between load levels."""

    model_config = STRICT

    kind: Literal["none", "racing", "median", "percentile", "hyperband"] = Field(
        default="none",
        description="racing: when two levels in a row break the same upper bound, or are far behind the best trials at "
        "equal load. The others are Optuna's, for one objective; each looks after every load level.",
    )
