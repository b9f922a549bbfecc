"""The guard of the answers: what a candidate is asked before it is measured, and how far it may drift."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, Field, field_validator

from optuna_tuner.spec.space import STRICT, flag_name

CONSTRAINT = "quality"  # what answers too far from the baseline's violate
FILE = "quality_prompts.yaml"
NEEDS_BASELINE = "quality needs the baseline, whose answers are what the others are held against: leave this out"


class Quality(BaseModel):
    """Flags that change the answers, or what clients are promised, are searched only in a study that has this section.

    A candidate that changes the answers' flags is asked some prompts before it is measured, one at a time and greedily,
    and its answers are held against the baseline's. `quality: {}` is the section with its defaults.
    """

    model_config = STRICT

    prompts: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        max_length=200,
        strict=False,
        description="What is asked, as a list of texts; default: a dozen that come with the package.",
    )
    max_tokens: int = Field(default=64, ge=1, le=4096, description="Longest answer, in tokens.")
    agreement_at_least: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of an answer, from its start, that must be the baseline's, as a mean over the prompts, "
        "0 to 1.",
    )
    logprob_drift_at_most: float = Field(
        default=0.1,
        gt=0,
        description="Nats per token by which the log-probabilities may differ where the answers agree; judged only "
        "where the server gives them.",
    )
    flags: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="Sampled flags and variables that change the answers too, beside those that are known to.",
        examples=[["my_flag"]],
    )
    allow: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="Sampled flags that may change what clients are promised, such as the longest context.",
        examples=[["max_model_len"]],
    )

    @field_validator("flags", "allow")
    @classmethod
    def _one_spelling(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(flag_name(name) for name in names)

    @property
    def asked(self) -> tuple[str, ...]:
        """The prompts."""
        return self.prompts or built_in_prompts()


@cache
def built_in_prompts() -> tuple[str, ...]:
    """A dozen prompts that ask for different things: sums, code, translation, lists, a letter, a text to read."""
    return tuple(yaml.safe_load((files("optuna_tuner.spec") / FILE).read_text(encoding="utf-8")))
