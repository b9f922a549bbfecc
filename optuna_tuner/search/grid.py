"""Every configuration of a space, each once.

Optuna's own grid samplers know no conditions, or no trial without parameters, and both stop the study by a call that
only works inside `Study.optimize`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.one_by_one import OneByOne
from optuna_tuner.spec.space import Parameter, params_of
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Scalar

EXAMINED = 10_000  # configurations of a grid that are asked about at once: a few seconds at most

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSize:
    """How many configurations of a grid may run, and how many are left out since something speaks against them.

    Counted as far as the budget reaches, and no further than `EXAMINED` configurations: the rest counts as allowed.
    """

    allowed: int
    left_out: int


def grid_size(spec: StudySpec, objection: Objection) -> GridSize:
    """Count all but those that the study wants tried first, until the budget is reached."""
    first = {_key(each) for each in spec.first}
    allowed = refused = 0
    for configuration in configurations(spec.space):
        if allowed >= spec.budget.trials:
            break
        if _key(configuration) in first:
            continue
        if allowed + refused < EXAMINED and objection(params_of(spec.space, configuration)) is not None:
            refused += 1
        else:
            allowed += 1
    return GridSize(allowed=allowed, left_out=refused)


def trials_of(spec: StudySpec, objection: Objection = NOTHING_KNOWN) -> int:
    """The budget in trials; a grid that is smaller ends the study when all of it was visited, at least one trial."""
    budget = spec.budget.trials
    if spec.sampler.kind != "grid":
        return budget
    size = grid_size(spec, objection)
    return min(budget, spec.baseline + max(1, len(spec.first) + size.allowed))


def left_out(spec: StudySpec, objection: Objection) -> int:
    """How many configurations of a grid are left out of these trials; 0 for other samplers, which draw again."""
    return grid_size(spec, objection).left_out if spec.sampler.kind == "grid" else 0


class Grid(OneByOne):
    """Gives each trial the first configuration that no trial before it has and that nothing speaks against.

    After those it gives the others, for their trials to be refused with the reason, and then the first again.
    """

    def __init__(self, space: Mapping[str, Parameter], objection: Objection) -> None:
        self._space, self._objection = space, objection
        self._chosen: Configuration = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the configuration of this trial."""
        others = study.get_trials(deepcopy=False)
        visited = {_key(other.params) for other in others if other.number != trial.number}
        first = next(self._unvisited(visited), next(configurations(self._space)))
        near = islice(self._unvisited(visited), EXAMINED)
        self._chosen = next((each for each in near if self._is_allowed(each)), first)

    def _unvisited(self, visited: Collection[frozenset[tuple[str, Scalar]]]) -> Iterator[Configuration]:
        return (each for each in configurations(self._space) if _key(each) not in visited)

    def _is_allowed(self, configuration: Configuration) -> bool:
        return self._objection(params_of(self._space, configuration)) is None

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
