"""The tuners of the contest: ours, Optuna's, other libraries', and what tuners of servers do with Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Literal

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from optuna_tuner import Search
from optuna_tuner.search.objection import Objection
from optuna_tuner.search.search import SamplerKind
from optuna_tuner.spec.space import suggest
from search.contest import Method, MethodMaker, excesses, metrics
from search.known import engine_of, estimates_of
from search.landscape import Configuration, Landscape, Truth
from search.others import OTHERS


class Ours:
    """`Search`, as a study uses it: the default first, then what a practitioner would try, rules from the engine.

    What the engine's guide has one expect counts `believed` times: 1 as in a study, 0 not at all, -1 as its opposite.
    """

    def __init__(
        self,
        landscape: Landscape,
        objection: Objection,
        seed: int,
        kind: SamplerKind = "serving",
        believed: int = 1,
    ) -> None:
        self._landscape, engine = landscape, engine_of(landscape)
        directions = {"objective": "maximize" if landscape.maximize else "minimize"}
        if landscape.front is not None:
            directions["traded"] = "minimize"
        goals = {
            "objectives": [{"metric": metric, "direction": each} for metric, each in directions.items()],
            "constraints": [{"metric": name, "at_most": 1.0} for name in landscape.constraint_names],
        }
        self._search = Search(
            landscape.space,
            goals,
            seed=seed,
            rules=objection,
            default=landscape.default,
            first=landscape.first,
            sampler=kind,
            expectation=lambda name, value: believed * engine.expects(name, value),
            estimates=estimates_of(landscape, engine),
        )

    def ask(self) -> tuple[int, Configuration]:
        """As the search suggests."""
        suggestion = self._search.ask()
        return suggestion.number, suggestion.params

    def tell(self, number: int, seen: Truth) -> None:
        """Metrics, or the cause."""
        self._search.tell(number, metrics(self._landscape, seen), took_s=seen.cost_s)

    def outlook(self, trials: int) -> float | None:
        """As the search sees it."""
        return self._search.outlook(trials)


class Plain:
    """Optuna alone, told of failures and broken promises in one of the ways that tuners do.

    `told` is what a trial without a feasible result becomes: "constraints" (PRUNED, with violated constraints), "fail"
    (FAIL, which Optuna's samplers do not look at), "zero" (a value of 0, the worst there is), or "penalty" (the value
    times e to the power of minus the violation; 0 for a failure). With two objectives, only the first one.
    """

    def __init__(
        self,
        landscape: Landscape,
        sampler: BaseSampler,
        told: Literal["constraints", "fail", "zero", "penalty"],
    ) -> None:
        self._landscape, self._told = landscape, told
        optuna.logging.set_verbosity(
            optuna.logging.ERROR
        )  # some draw conditional flags at random, and say so each time
        both: Sequence[StudyDirection] = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
        directions = both[:1] if landscape.front is None else both
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._asked: dict[int, Trial] = {}

    def ask(self) -> tuple[int, Configuration]:
        """As the sampler suggests."""
        trial = self._study.ask()
        self._asked[trial.number] = trial
        params = suggest(self._landscape.space, trial)
        return trial.number, {**params.flags, **params.env}

    def tell(self, number: int, seen: Truth) -> None:
        """In the way of this tuner."""
        trial = self._asked.pop(number)
        if self._told == "constraints":
            self._with_constraints(trial, seen)
        elif seen.cause is not None and self._told == "fail":
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, self._value(seen))

    def _value(self, seen: Truth) -> float:
        """Larger is better; of an objective to minimize, its inverse."""
        if seen.cause is not None or not seen.objective:
            return 0.0
        value = seen.objective if self._landscape.maximize else 1 / seen.objective
        broken = [max(0.0, each) for each in excesses(seen)]
        if self._told == "penalty":
            return value * float(2.718281828 ** -sum(broken))
        return 0.0 if any(broken) else value

    def _with_constraints(self, trial: Trial, seen: Truth) -> None:
        names = ("server runs", *self._landscape.constraint_names)
        told = [1.0] * len(names) if seen.cause is not None else [0.0, *excesses(seen)]
        for name, excess in zip(names, told, strict=True):
            trial.set_constraint(name, excess)
        if seen.cause is not None or not seen.objective:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            value = seen.objective if self._landscape.maximize else 1 / seen.objective
            self._study.tell(trial, value if seen.traded is None else [value, seen.traded])


def _ours(kind: SamplerKind, believed: int = 1) -> MethodMaker:
    return lambda landscape, objection, seed: Ours(landscape, objection, seed, kind, believed)


def _plain(sampler: str, told: Literal["constraints", "fail", "zero", "penalty"]) -> MethodMaker:
    def make(landscape: Landscape, _objection: Objection, seed: int) -> Method:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return Plain(landscape, getattr(optuna.samplers, sampler)(seed=seed), told)

    return make


METHODS: Mapping[str, MethodMaker] = {
    "serving": _ours("serving"),
    "serving, nothing expected": _ours("serving", 0),
    "serving, the opposite expected": _ours("serving", -1),
    "TPE, with rules and first points": _ours("tpe"),
    "GP, with rules and first points": _ours("gp"),
    "QMC, with rules and first points": _ours("qmc"),
    "NSGA-II, with rules and first points": _ours("nsga2"),
    "random, with rules and first points": _ours("random"),
    "grid, with rules and first points": _ours("grid"),
    "TPE, constraints": _plain("TPESampler", "constraints"),
    "TPE, FAIL on failure": _plain("TPESampler", "fail"),
    "TPE, 0.0 on failure": _plain("TPESampler", "zero"),
    "TPE, exponential penalty": _plain("TPESampler", "penalty"),
    "GP, constraints": _plain("GPSampler", "constraints"),
    "GP, 0.0 on failure": _plain("GPSampler", "zero"),
    "NSGA-II, constraints": _plain("NSGAIISampler", "constraints"),
    "random": _plain("RandomSampler", "constraints"),
    "QMC": _plain("QMCSampler", "constraints"),
    **{name: make for name, (_, make) in OTHERS.items()},
}
NEEDS: Mapping[str, str] = {
    **{name: "torch" for name in METHODS if name.startswith("GP")},
    **{name: module for name, (module, _) in OTHERS.items()},
}


def missing_for(method: str) -> str | None:
    """The module that a method needs and that is not installed."""
    module = NEEDS.get(method)
    return module if module is not None and find_spec(module) is None else None
