"""What a sampler is asked: a space, how to search it, and what is known of it before anything was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from optuna_tuner.search.encoding import Estimates, nothing_estimated
from optuna_tuner.search.expectation import Expectation, nothing_expected
from optuna_tuner.spec.sampler import Sampler
from optuna_tuner.spec.space import Parameter
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is searched, and how.

    Attributes:
        space: the parameters.
        sampler: which sampler, and its settings.
        ahead: how many trials have their parameters before the sampler is asked: the baseline, and those named first.
        default: what a parameter is where it is left to the engine, as far as that is known.
        expectation: what is expected of parameters before anything was measured.
        estimates: what a model of the server tells of configurations, to learn from what runs.

    """

    space: Mapping[str, Parameter]
    sampler: Sampler
    ahead: int = 0
    default: Mapping[str, Scalar] = field(default_factory=dict)
    expectation: Expectation = nothing_expected
    estimates: Estimates = nothing_estimated

    @property
    def spread(self) -> int:
        """How many trials there are before the sampler has learnt: those ahead, and those that spread out."""
        return self.ahead + self.sampler.startup_trials

    @classmethod
    def of(cls, spec: StudySpec, default: Mapping[str, Scalar] | None = None) -> Problem:
        """A study's; what its engine says of the flags can be added."""
        ahead = spec.baseline + len(spec.first)
        return cls(space=spec.space, sampler=spec.sampler, ahead=ahead, default=default or {})
