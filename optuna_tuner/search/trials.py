"""The trials of one search on Optuna's side: begun, given their parameters, told what came of them.

`Search` and the workers of a study both ask and tell through this, and differ in what stands around it: a lock and
goals there, attempts that outlive any process here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.redrawing import Redrawing
from optuna_tuner.search.samplers import Repeated, make_sampler
from optuna_tuner.search.serving import Serving
from optuna_tuner.spec.goals import Goals
from optuna_tuner.spec.space import named_in, suggest
from optuna_tuner.store.records import Choice
from optuna_tuner.values import Params

Away = Callable[[int], Params | None]  # by a trial's number; None leaves the choice to the sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of a trial: its state, values where it is complete, constraints, and what else is to be kept."""

    state: TrialState
    values: Sequence[float] | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, object] = field(default_factory=dict)


class Trials:
    """Those of one Optuna study. Who calls sees to it that nobody else asks at the same time.

    `objection` is what is known against configurations: the sampler keeps away from them. `away` is asked, with a
    trial's number, before the sampler: parameters from it go first.
    """

    def __init__(
        self,
        study: optuna.Study,
        problem: Problem,
        objection: Objection = NOTHING_KNOWN,
        away: Away = lambda _: None,
    ) -> None:
        self.study, self._problem, self._objection, self._away = study, problem, objection, away

    def all(self) -> Sequence[FrozenTrial]:
        """Whatever their state, by number; also what others have begun meanwhile."""
        return self.study.get_trials(deepcopy=False)

    def begin(self, given: Params | None = None) -> Trial:
        """A new trial, for these parameters and no others, or for the sampler's choice."""
        if given is None:
            self.study.sampler = self._sampler(len(self.all()), None)
            return self.study.ask()
        # Not by `ask`, which would take a configuration that a user has put into Optuna's queue.
        blank = create_trial(state=TrialState.RUNNING)
        made = self.study._storage.create_new_trial(self.study._study_id, blank)  # noqa: SLF001  `add_trial` does not say which it made
        return self.resume(next(each for each in self.all() if each._trial_id == made), given)  # noqa: SLF001  as above

    def resume(self, trial: FrozenTrial, given: Params | None) -> Trial:
        """One of `all` that was begun before, to be given its parameters."""
        self.study.sampler = self._sampler(trial.number, given)
        return self.live(trial)

    def live(self, trial: FrozenTrial) -> Trial:
        """A trial that can be written to."""
        return Trial(self.study, trial._trial_id)  # noqa: SLF001  Optuna has no public way from a number to a live trial

    def _sampler(self, number: int, given: Params | None) -> BaseSampler:
        params = self._away(number) if given is None else given
        return make_sampler(self._problem, number, self._objection) if params is None else Repeated(params)

    def parameters(self, trial: Trial, given: Params | None = None) -> Params:
        """Those that are given, or the sampler's choice: of the trial that was begun, or resumed, last."""
        if given is not None:
            suggest(named_in(self._problem.space, given), trial)
            return given
        suggest(self._problem.space, trial)
        # What counts is what the history holds: Optuna keeps the first value silently, where the commit of an earlier
        # call of ours was on its way when the line was cut.
        return suggest(self._problem.space, Trial(self.study, trial._trial_id))  # noqa: SLF001  as above

    @property
    def choice(self) -> Choice:
        """How the sampler came to the parameters that it gave last."""
        sampler = self.study.sampler
        return sampler.choice if isinstance(sampler, Redrawing | Serving) else Choice()

    def tell(self, trial: Trial, told: Told) -> None:
        """Write it all, the end of the trial last. What is known already stays as it is."""
        for name in told.constraints.keys() - trial.constraints.keys():
            trial.set_constraint(name, told.constraints[name])
        for name, value in told.attributes.items():
            trial.set_user_attr(name, value)
        values = None if told.values is None else list(told.values)
        self.study.tell(trial, values=values, state=told.state, skip_if_finished=True)


def made_study(storage: BaseStorage | None, name: str, goals: Goals) -> optuna.Study:
    """Optuna's study of this name; fine where it is there already."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[objective.direction for objective in goals.objectives],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.metric for objective in goals.objectives])
    return study
