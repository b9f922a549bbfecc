"""The search without any deployment: ask for a configuration, try it by whatever means, tell what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from threading import Lock
from typing import Literal

import optuna
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState
from pydantic import TypeAdapter

from optuna_tuner.errors import ConflictError, EnvironmentFaultError, NotFoundError
from optuna_tuner.search.encoding import Estimates, nothing_estimated
from optuna_tuner.search.evidence import TOOK_S
from optuna_tuner.search.expectation import Expectation, nothing_expected
from optuna_tuner.search.gp import missing_for
from optuna_tuner.search.objection import NOTHING_KNOWN, Objection, first_of, forbidden
from optuna_tuner.search.outlook import outlook
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.trials import Told, Trials, made_study
from optuna_tuner.search.verdict import all_violated, score
from optuna_tuner.spec.goals import Goals
from optuna_tuner.spec.sampler import Sampler
from optuna_tuner.spec.space import Parameter, params_of, written_in
from optuna_tuner.spec.study import Rule
from optuna_tuner.values import Blame, Cause, Load, LoadKind, Measurement, Params, Scalar

Written = Mapping[str, object]  # as in a study file, or made of the same types already
SamplerKind = Literal["serving", "tpe", "gp", "random", "qmc", "grid", "nsga2"]

_SPACE: TypeAdapter[Mapping[str, Parameter]] = TypeAdapter(Mapping[str, Parameter])
_GOALS: TypeAdapter[Goals] = TypeAdapter(Goals)
_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to try: the number to tell the result under, and each parameter's value."""

    number: int
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration that keeps every constraint, with the objectives that were told of it, in the goals' order."""

    number: int
    params: Mapping[str, Scalar]
    values: tuple[float, ...]


@dataclass(eq=False)
class Search:
    """Searches a space, for anybody's evaluation.

    Ask as often as you like before you tell: what is not told yet is taken for being tried. With `storage`, a
    database's URL, the search outlives the process: the same arguments go on where it was left.

    Raises ValueError where space, goals or rules cannot be read, and EnvironmentFaultError where the sampler needs what
    is not installed.

    Attributes:
        space: each parameter, as under `space` in a study file.
        goals: objectives and constraints, as under `goals` in a study file.
        seed: of all random choices.
        rules: conditions that no configuration may fulfil, or a function that says why one may not be tried.
        default: what runs when nothing is set. It is tried first.
        first: configurations to try next, before the sampler chooses.
        expectation: what you expect of one parameter's value: the logarithm of the factor by which the objective is
            better with it, 0 for nothing. The search begins with it; trials that say otherwise outweigh it. For
            `serving` and one objective.
        estimates: what a model of yours tells of each configuration, always so many numbers: the sampler `serving`
            learns from them what runs.
        sampler: as under `sampler.kind` in a study file.
        startup_trials: how many configurations are spread over the space before the sampler begins to learn.
        storage: where to keep it, as Optuna takes it; in memory by default.
        name: of the study in the storage.

    """

    space: Written
    goals: Goals | Written
    _: KW_ONLY
    seed: int | None = None
    rules: Sequence[str] | Objection = ()
    default: Mapping[str, Scalar] | None = None
    first: Sequence[Mapping[str, Scalar]] = ()
    expectation: Expectation = nothing_expected
    estimates: Estimates = nothing_estimated
    sampler: SamplerKind = "serving"
    startup_trials: int = 4
    storage: str | None = None
    name: str = "search"

    def __post_init__(self) -> None:
        """Read what was given, and begin or go on."""
        if (missing := missing_for(self.sampler)) is not None:
            raise EnvironmentFaultError(missing)
        self._space = _SPACE.validate_python(self.space)
        self._goals = _GOALS.validate_python(self.goals)
        self._objection = self.rules if callable(self.rules) else _against(self.rules)
        self._default = None if self.default is None else written_in(self._space, self.default)
        first = [params_of(self._space, written_in(self._space, each)) for each in self.first]
        self._ahead = [*([] if self._default is None else [Params()]), *first]
        self._problem = Problem(
            space=self._space,
            sampler=Sampler(kind=self.sampler, seed=self.seed, startup_trials=self.startup_trials),
            ahead=len(self._ahead),
            default=self._default or {},
            expectation=self.expectation,
            estimates=self.estimates,
        )
        self._lock = Lock()
        self._trials = Trials(_study(self.storage, self.name, self._goals), self._problem, self._objection)

    def ask(self) -> Suggestion:
        """The next configuration to try."""
        with self._lock:
            given = next(iter(self._ahead[len(self._trials.all()) :]), None)
            trial = self._trials.begin(given)
            params = self._trials.parameters(trial, given)
            return Suggestion(trial.number, self._whole(trial.number, {**params.flags, **params.env}))

    def tell(
        self,
        number: int,
        result: Mapping[str, float] | Sequence[Measurement] | Cause,
        *,
        given_up: bool = False,
        took_s: float | None = None,
    ) -> None:
        """Say what came of a suggestion: its metrics, its measurements load by load, or why there are none.

        With `given_up` it was not evaluated to its end, since others are better: it is learnt from, and never the best.
        With `took_s`, its seconds, the search prefers what is quickly tried among what promises as much. A cause that
        is the configuration's fault teaches the sampler; after any other one the configuration counts as not tried.
        Raises ConflictError where it was told before, NotFoundError for a number that was never suggested, and
        ValueError where a metric of the goals is missing, or is no finite number.
        """
        with self._lock:
            trial = self._asked(number)
            told = self._told(result, given_up=given_up)
            known = {} if took_s is None else {TOOK_S: took_s}
            self._trials.tell(trial, replace(told, attributes={**told.attributes, **known}))

    def _told(self, result: Mapping[str, float] | Sequence[Measurement] | Cause, *, given_up: bool) -> Told:
        if isinstance(result, Cause):
            return _failed(self._goals, result)
        scored = score(self._goals, _measurements(result, self._wanted()))
        if not given_up:
            return Told(state=TrialState.COMPLETE, values=scored.values, constraints=scored.constraints)
        metrics = [objective.metric for objective in self._goals.objectives]
        shown = dict(zip(metrics, scored.values, strict=True))
        return Told(state=TrialState.PRUNED, constraints=scored.constraints, attributes=shown)

    def outlook(self, trials: int) -> float | None:
        """The gain over the best so far that so many more trials could bring, as a share; None while it is unknown."""
        with self._lock:
            return outlook(self._trials.study, self._problem, self._objection, trials)

    def best(self) -> Sequence[Found]:
        """What keeps every constraint and is beaten by nothing: one configuration, a front, or none at all."""
        complete = [each for each in self._trials.all() if each.state is TrialState.COMPLETE]
        feasible = [each for each in complete if all(excess <= 0 for excess in each.constraints.values())]
        signs = [-1.0 if each.direction == "maximize" else 1.0 for each in self._goals.objectives]
        costs = {each.number: tuple(s * v for s, v in zip(signs, each.values, strict=True)) for each in feasible}
        front = [each for each in feasible if not any(_beats(other, costs[each.number]) for other in costs.values())]
        one = front if len(signs) > 1 else front[:1]
        return [Found(each.number, self._whole(each.number, each.params), tuple(each.values)) for each in one]

    def _whole(self, number: int, params: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
        return self._default if self._default is not None and number == 0 else params

    def _asked(self, number: int) -> Trial:
        trials = self._trials.all()
        found = next((each for each in trials if each.number == number), None)
        if found is None:
            raise NotFoundError(f"no configuration with the number {number} was suggested; there are {len(trials)}")
        if found.state.is_finished():
            raise ConflictError(f"what came of number {number} was told before")
        return self._trials.live(found)

    def _wanted(self) -> Sequence[str]:
        objectives = [objective.metric for objective in self._goals.objectives]
        return objectives + [constraint.metric for constraint in self._goals.constraints]


def _study(storage: str | None, name: str, goals: Goals) -> optuna.Study:
    """Optuna formats the URL that it is given, so braces in it are doubled."""
    kept = None if storage is None else RDBStorage(storage.replace("{", "{{").replace("}", "}}"))
    return made_study(kept, name, goals)


def _failed(goals: Goals, cause: Cause) -> Told:
    """Only what is the configuration's fault teaches the sampler."""
    blamed = cause.blame is Blame.CONFIGURATION
    return Told(
        state=TrialState.PRUNED if blamed else TrialState.FAIL,
        constraints=all_violated(goals) if blamed else {},
        attributes={"cause": cause.value},
    )


def _against(rules: Iterable[str]) -> Objection:
    read = tuple(_RULE.validate_python({"forbid": each}) for each in rules)
    return first_of(forbidden(read)) if read else NOTHING_KNOWN


def _measurements(result: Mapping[str, float] | Sequence[Measurement], wanted: Iterable[str]) -> Sequence[Measurement]:
    if isinstance(result, Mapping):
        result = [Measurement(load=Load(kind=LoadKind.CONCURRENCY, value=1), metrics=result)]
    for each in result:
        for name in wanted:
            if not math.isfinite(each.metrics.get(name, math.nan)):
                raise ValueError(f"{name} is {each.metrics.get(name, 'missing')}; the goals need a finite number")
    return result


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether costs are nowhere more, and somewhere less."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
