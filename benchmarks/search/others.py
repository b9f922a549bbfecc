"""Tuners of other libraries, each as its documentation uses it; what is not installed is left out.

They are told the space, with its conditions where they know such, and that numbers of a list have an order; nothing of
an engine's rules, and no good first points. None of these libraries belongs to this package.
"""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from optuna_tuner.search.encoding import is_ordered
from optuna_tuner.search.objection import Objection
from optuna_tuner.spec.space import Choice, Parameter
from optuna_tuner.values import Scalar
from search.contest import MethodMaker
from search.landscape import Configuration, Landscape, Truth

VIOLATED = math.log(2)  # each constraint of what did not run: its metric is taken for twice the limit
SOBOL = 8  # points before SMAC3 learns: a quarter of 30 trials, as is its default
ENDLESS = 10_000  # trials that a library is told of: how long a run is, the contest decides


class Axes:
    """A space as whole numbers, the place of each value among those of its parameter: every library takes such."""

    def __init__(self, space: Mapping[str, Parameter]) -> None:
        self.space = space
        self.values = {name: _values(parameter) for name, parameter in space.items()}

    def is_ordered(self, name: str) -> bool:
        """Whether the parameter's values are numbers, which now stand in order."""
        return _is_list_of_numbers(self.space[name])

    def configuration(self, places: Mapping[str, Any]) -> Configuration:
        """The values at these places; those whose condition does not hold are left out."""
        chosen: dict[str, Scalar] = {}
        for name, parameter in self.space.items():
            if parameter.applies(chosen):
                chosen[name] = self.values[name][int(places[name])]
        return chosen


def _values(parameter: Parameter) -> Sequence[Scalar]:
    return sorted(parameter.values(), key=float) if _is_list_of_numbers(parameter) else parameter.values()


def _is_list_of_numbers(parameter: Parameter) -> bool:
    return isinstance(parameter, Choice) and is_ordered(parameter)


def loss_of(landscape: Landscape, seen: Truth) -> float | None:
    """What was measured as a logarithm, smaller is better, since flags multiply each other's effects.

    None where the server did not run.
    """
    if seen.cause is not None or not seen.objective:
        return None
    return -math.log(seen.objective) if landscape.maximize else math.log(seen.objective)


class Losses:
    """Losses for a library that wants one of each trial.

    What did not run is told as the worst that did. Until one has run there is none: then it waits.
    """

    def __init__(self, landscape: Landscape) -> None:
        self._landscape = landscape
        self._worst: float | None = None
        self._waiting: list[tuple[int, Truth]] = []

    def of(self, number: int, seen: Truth) -> Sequence[tuple[int, Truth, float]]:
        """All that can be told now."""
        own = loss_of(self._landscape, seen)
        if own is not None:
            self._worst = own if self._worst is None else max(own, self._worst)
        if self._worst is None:
            self._waiting.append((number, seen))
            return []
        before, self._waiting = self._waiting, []
        told = self._worst if own is None else own
        return [(number, seen, told), *((one, truth, self._worst) for one, truth in before)]


class Smac:
    """SMAC3's facade for hyperparameters: a random forest over the logarithm of a cost.

    It knows no constraints: a broken promise multiplies the cost by how much it is broken. What did not run crashed.
    """

    def __init__(self, landscape: Landscape, _objection: Objection, seed: int) -> None:
        smac = import_module("smac")
        self._axes, self._losses = Axes(landscape.space), Losses(landscape)
        self._folder = tempfile.TemporaryDirectory()
        scenario = smac.Scenario(
            _config_space(self._axes, seed),
            deterministic=True,
            n_trials=ENDLESS,
            seed=seed,
            output_directory=self._folder.name,
        )
        facade = smac.HyperparameterOptimizationFacade
        design = facade.get_initial_design(scenario, n_configs=SOBOL)
        self._smac = facade(scenario, _never_called, initial_design=design, overwrite=True, logging_level=False)
        self._asked: list[Any] = []

    def ask(self) -> tuple[int, Configuration]:
        """As it suggests."""
        self._asked.append(self._smac.ask())
        return len(self._asked) - 1, self._axes.configuration(dict(self._asked[-1].config))

    def tell(self, number: int, seen: Truth) -> None:
        """A cost, or a crash."""
        values, states = import_module("smac.runhistory.dataclasses"), import_module("smac.runhistory.enumerations")
        for one, truth, loss in self._losses.of(number, seen):
            broken = sum(max(0.0, each) for each in truth.constraints)
            state = states.StatusType.SUCCESS if truth.cause is None else states.StatusType.CRASHED
            told = values.TrialValue(cost=math.exp(loss + broken), time=truth.cost_s, status=state)
            self._smac.tell(self._asked[one], told, save=False)


def _never_called(_config: object, seed: int = 0) -> float:
    raise NotImplementedError(seed)  # SMAC3 wants a function, also where it is only asked and told


class OpenBox:
    """OpenBox's advisor for trials side by side, with the surrogate and acquisition of its own choice, and constraints.

    It knows what is under way, where the plain advisor repeats it. What did not run has failed, which it takes for the
    worst that was seen, and breaks all constraints.
    """

    def __init__(self, landscape: Landscape, _objection: Objection, seed: int) -> None:
        self._openbox = import_module("openbox")
        self._landscape, self._axes = landscape, Axes(landscape.space)
        self._advisor = self._openbox.AsyncBatchAdvisor(
            _config_space(self._axes, seed),
            num_objectives=1,
            num_constraints=len(landscape.constraint_names),
            random_state=seed,
            output_dir=None,
            logger_kwargs={"stream": False},
        )
        self._asked: list[Any] = []

    def ask(self) -> tuple[int, Configuration]:
        """As it suggests."""
        self._asked.append(self._advisor.get_suggestion())
        return len(self._asked) - 1, self._axes.configuration(dict(self._asked[-1]))

    def tell(self, number: int, seen: Truth) -> None:
        """The loss and each constraint's logarithm, or a failure."""
        states, loss = import_module("openbox.utils.constants"), loss_of(self._landscape, seen)
        told = self._openbox.Observation(
            config=self._asked[number],
            objectives=[math.inf if loss is None else loss],
            constraints=list(seen.constraints or [VIOLATED] * len(self._landscape.constraint_names)),
            trial_state=states.FAILED if loss is None else states.SUCCESS,
        )
        self._advisor.update_observation(told)


class Ax:
    """Ax, by its own choice of methods: Sobol points, then a Gaussian process of BoTorch's, with constraints.

    Conditions are flattened: what does not apply has a value all the same.
    """

    def __init__(self, landscape: Landscape, _objection: Objection, seed: int) -> None:
        client, configs = import_module("ax.api.client"), import_module("ax.api.configs")
        logging.getLogger("ax").setLevel(logging.ERROR)  # importing it sets it
        self._axes, self._losses = Axes(landscape.space), Losses(landscape)
        self._constraints = [f"constraint_{place}" for place, _ in enumerate(landscape.constraint_names)]
        self._client = client.Client(random_seed=seed)
        self._client.configure_experiment(
            [
                configs.ChoiceParameterConfig(
                    name, list(range(len(values))), parameter_type="int", is_ordered=self._axes.is_ordered(name)
                )
                for name, values in self._axes.values.items()
            ]
        )
        self._client.configure_generation_strategy(allow_exceeding_initialization_budget=True)  # while none has ended
        self._client.configure_optimization("-loss", [f"{name} <= 0" for name in self._constraints])

    def ask(self) -> tuple[int, Configuration]:
        """As it suggests."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own models' fits: a user sees them, and can do nothing
            ((number, places),) = self._client.get_next_trials(1).items()
        return number, self._axes.configuration(places)

    def tell(self, number: int, seen: Truth) -> None:
        """The loss and each constraint's logarithm; of what did not run, all are broken."""
        for one, truth, loss in self._losses.of(number, seen):
            broken = truth.constraints or [VIOLATED] * len(self._constraints)
            self._client.complete_trial(one, {"loss": loss, **dict(zip(self._constraints, broken, strict=True))})


def _config_space(axes: Axes, seed: int) -> Any:  # noqa: ANN401  of a library without types, in one of two versions
    """As ConfigSpace has it, of which SMAC3 and OpenBox need different versions."""
    config_space = import_module("ConfigSpace")
    space = config_space.ConfigurationSpace(seed=seed)
    made: dict[str, Any] = {}
    for name, values in axes.values.items():
        places = list(range(len(values)))
        if axes.is_ordered(name):
            made[name] = config_space.OrdinalHyperparameter(name, places)
        else:
            made[name] = config_space.CategoricalHyperparameter(name, places)
    conditions = []
    for name, parameter in axes.space.items():
        each = [
            config_space.InCondition(made[name], made[other], [axes.values[other].index(value) for value in wanted])
            for other, wanted in parameter.conditions().items()
        ]
        conditions += [config_space.AndConjunction(*each)] if len(each) > 1 else each
    if hasattr(space, "add"):
        space.add(*made.values(), *conditions)
    else:
        space.add_hyperparameters(list(made.values()))
        space.add_conditions(conditions)
    return space


OTHERS: Mapping[str, tuple[str, MethodMaker]] = {  # with the module that each needs
    "SMAC3, penalty": ("smac", Smac),
    "OpenBox, constraints": ("openbox", OpenBox),
    "Ax (BoTorch), constraints": ("ax", Ax),
}
