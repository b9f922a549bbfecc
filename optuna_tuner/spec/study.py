"""The study file as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from optuna_tuner.spec.goals import Goals
from optuna_tuner.spec.space import STRICT, Parameter
from optuna_tuner.values import Scalar


class Part(BaseModel):
    """An engine, a deployer or a benchmark: its kind, and the options that this kind's plugin declares."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    @property
    def options(self) -> Mapping[str, JsonValue]:
        """Everything but the kind; checked against the plugin's own Options."""
        return self.model_extra or {}


class ModelSpec(BaseModel):
    """The model to serve."""

    model_config = STRICT

    name: str = Field(description="What clients call it.", examples=["llama-3-1-8b"])
    path: str | None = Field(
        default=None, description='Folder, hub id, or "builtin" for the small model that is made on this machine.'
    )
    tokenizer: str | None = Field(default=None, description="Folder or hub id of the tokenizer; default: the path.")


class Rule(BaseModel):
    """A combination that is known to be wrong: it is rejected before anything is launched."""

    model_config = STRICT

    forbid: str = Field(description="A condition on parameters, for example: max_num_batched_tokens < max_num_seqs")
    because: str = ""


class Sampler(BaseModel):
    """How Optuna chooses."""

    model_config = STRICT

    kind: Literal["tpe", "random", "grid", "nsga2"] = "tpe"
    seed: int | None = None
    startup_trials: int = Field(default=6, ge=1)


class Pruner(BaseModel):
    """When a trial is given up between load levels. Only for one objective."""

    model_config = STRICT

    kind: Literal["none", "median", "percentile", "hyperband"] = "none"


class Budget(BaseModel):
    """When the study is done: whichever comes first."""

    model_config = STRICT

    trials: int = Field(default=20, ge=1)
    wall_time_s: float | None = Field(default=None, gt=0)
    gpu_time_s: float | None = Field(default=None, gt=0)


class Limits(BaseModel):
    """How long each phase of one trial may take, and how often the machine may fail it."""

    model_config = STRICT

    startup_s: float = Field(default=1800, gt=0)
    warm_up_s: float = Field(default=300, gt=0)
    benchmark_s: float = Field(default=3600, gt=0)
    teardown_s: float = Field(default=60, gt=0)
    tries: int = Field(default=3, ge=1, le=10)
    success_rate: float = Field(default=0.99, gt=0, le=1)


class StudySpec(BaseModel):
    """All that a user asks for in one file."""

    model_config = STRICT

    name: str = Field(pattern=r"^[\w .:+-]{1,100}$")
    description: str = ""
    model: ModelSpec
    engine: Part
    deployer: Part = Field(default_factory=lambda: Part(kind="local"))
    benchmark: Part
    space: Mapping[str, Parameter] = Field(min_length=1)
    rules: tuple[Rule, ...] = ()
    goals: Goals
    sampler: Sampler = Field(default_factory=Sampler)
    pruner: Pruner = Field(default_factory=Pruner)
    budget: Budget = Field(default_factory=Budget)
    limits: Limits = Field(default_factory=Limits)
    baseline: bool = Field(default=True, description="Trial 0 is the engine's own default: the fixed flags alone.")
    tags: Mapping[str, Scalar] = Field(default_factory=dict)
