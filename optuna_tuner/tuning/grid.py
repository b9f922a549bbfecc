"""Every configuration of a space, each once.

Optuna's own grid samplers know no conditions, or no trial without parameters, and both stop the study by a call that
only works inside `Study.optimize`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.spec.space import Parameter
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.one_by_one import OneByOne
from optuna_tuner.values import Scalar

Configuration = Mapping[str, Scalar]


def configurations(space: Mapping[str, Parameter]) -> Iterator[Configuration]:
    """All configurations in the order of the file, the last parameter changing fastest; conditions are kept."""
    yield from _below({}, tuple(space.items()))


def _below(chosen: dict[str, Scalar], left: tuple[tuple[str, Parameter], ...]) -> Iterator[Configuration]:
    if not left:
        yield chosen
        return
    (name, parameter), *rest = left
    if not parameter.applies(chosen):
        yield from _below(chosen, tuple(rest))
        return
    for value in parameter.values():
        yield from _below({**chosen, name: value}, tuple(rest))


def trials_of(spec: StudySpec) -> int:
    """The budget in trials; a grid that is smaller ends the study when all of it was visited."""
    budget = spec.budget.trials
    if spec.sampler.kind != "grid":
        return budget
    first = {_key(each) for each in spec.first}
    others = (each for each in configurations(spec.space) if _key(each) not in first)
    return min(budget, spec.baseline + len(first) + sum(1 for _ in islice(others, budget)))


class Grid(OneByOne):
    """Gives each trial the first configuration that no trial before it has; after the last one, the first again."""

    def __init__(self, space: Mapping[str, Parameter]) -> None:
        self._space = space
        self._chosen: Configuration = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the configuration of this trial."""
        others = study.get_trials(deepcopy=False)
        visited = {_key(other.params) for other in others if other.number != trial.number}
        first = next(configurations(self._space))
        left = (each for each in configurations(self._space) if _key(each) not in visited)
        self._chosen = next(left, first)

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002  Optuna's signature
        trial: FrozenTrial,  # noqa: ARG002  as above
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002  as above
    ) -> Scalar:
        """One value of the chosen configuration."""
        return self._chosen[param_name]


def _key(configuration: Configuration) -> frozenset[tuple[str, Scalar]]:
    return frozenset(configuration.items())
