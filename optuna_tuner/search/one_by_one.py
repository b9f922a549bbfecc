"""What our own samplers share: each parameter is given when it is asked for, and none before."""

from __future__ import annotations

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.values import Scalar


class OneByOne(BaseSampler):
    """A sampler of which only `sample_independent` is left to write."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002  Optuna's signature
        """Nothing: parameters come one by one."""
        return {}

    def sample_relative(  # Optuna's signature
        self,
        study: Study,  # noqa: ARG002  as above
        trial: FrozenTrial,  # noqa: ARG002  as above
        search_space: dict[str, BaseDistribution],  # noqa: ARG002  as above
    ) -> dict[str, Scalar]:
        """Nothing: parameters come one by one."""
        return {}
