"""Optuna's side of a study: asked under a lock, told exactly once.

Our tables say what was attempted; Optuna's say what everybody reads. Each outcome is first written to ours, and then
told by whoever holds the study lock, so that a worker may die between the two.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from optuna_tuner.errors import StoppedError
from optuna_tuner.spec.space import suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord, Outcome, StudyRecord, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.samplers import make_pruner, make_sampler
from optuna_tuner.tuning.trial import GiveUp
from optuna_tuner.tuning.verdict import score
from optuna_tuner.values import Cause, Params

STATES = {
    Verdict.COMPLETE: TrialState.COMPLETE,
    Verdict.PRUNED: TrialState.PRUNED,
    Verdict.FAIL: TrialState.FAIL,
}


def optuna_study_exists(store: Store, name: str) -> bool:
    """Whether Optuna has a study of this name in the database, ours or a stranger's."""
    return name in optuna.get_all_study_names(store.optuna_storage())


def ensure_optuna_study(store: Store, spec: StudySpec) -> None:
    """Make Optuna's study of the same name; fine where it is there already."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=store.optuna_storage(),
        study_name=spec.name,
        directions=[objective.direction for objective in spec.goals.objectives],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.metric for objective in spec.goals.objectives])


class History:
    """The Optuna study of one worker's study."""

    def __init__(self, store: Store, record: StudyRecord, spec: StudySpec) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._store, self._study_id, self._spec = store, record.id, spec
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.load_study(
                study_name=record.name,
                storage=store.optuna_storage(),
                pruner=make_pruner(spec.pruner),
            )

    def ask(self, attempt: AttemptRecord) -> tuple[Trial, Params]:
        """Get a trial and its parameters: the sampler's choice, or those of the attempt where it has some."""
        with self._store.study_lock(self._study_id):
            return self._store.weathered(lambda: self._ask(attempt))

    def _ask(self, attempt: AttemptRecord) -> tuple[Trial, Params]:
        self._end_strays()
        trial = self._new_trial(attempt)
        params = suggest(self._spec.space, trial) if attempt.params is None else attempt.params
        if not self._store.attempts.asked(attempt.id, trial.number, params):
            raise StoppedError("the attempt was ended by somebody else while its parameters were chosen")
        return trial, params

    def _end_strays(self) -> None:
        """A worker that died between Optuna's ask and our note of it left a trial that nobody will ever tell."""
        ours = {attempt.number for attempt in self._store.attempts.of(self._study_id)}
        for stray in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if stray.number not in ours:
                trial = Trial(self._study, stray._trial_id)  # noqa: SLF001  Optuna has no public way from a number to a live trial
                trial.set_user_attr("cause", Cause.WORKER_LOST.value)
                self._study.tell(trial, state=TrialState.FAIL)

    def _new_trial(self, attempt: AttemptRecord) -> Trial:
        earlier = self._asked_before(attempt)
        if earlier is None:
            self._study.sampler = make_sampler(self._spec, len(self._trials()))
            return self._study.ask()
        first = self._trials()[earlier]
        again = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=first.params,
            distributions=first.distributions,
            user_attrs={"retry_of": earlier},
        )
        self._study.add_trial(again)
        return Trial(self._study, self._trials()[-1]._trial_id)  # noqa: SLF001  as above

    def _asked_before(self, attempt: AttemptRecord) -> int | None:
        """The trial that has these parameters; a try that ended before it was asked has none."""
        while attempt.retry_of is not None:
            attempt = self._store.attempts.get(attempt.retry_of)
            if attempt.number is not None:
                return attempt.number
        return None

    def _trials(self) -> Sequence[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def give_up(self, trial: Trial) -> GiveUp:
        """What asks Optuna's pruner after each load level. Raises optuna.TrialPruned, or StoppedError."""
        goals = self._spec.goals

        def look(journal: Journal) -> None:
            if self._spec.pruner.kind == "none" or len(goals.objectives) > 1:
                return
            step = len(journal.measurements)
            value = score(goals, journal.measurements).values[0]
            try:
                self._store.weathered(lambda: trial.report(value, step))
            except optuna.exceptions.UpdateFinishedTrialError as error:
                raise StoppedError("the trial was ended in Optuna's history by somebody else") from error
            journal.intermediate[step] = value
            if self._store.weathered(trial.should_prune):
                raise optuna.TrialPruned

        return look

    def tell(self) -> None:
        """Tell Optuna every outcome that it does not know yet, whoever measured it."""
        if not self._store.attempts.untold(self._study_id):
            return
        with self._store.study_lock(self._study_id):
            self._store.weathered(self._tell)

    def _tell(self) -> None:
        trials = self._trials()
        for attempt in self._store.attempts.untold(self._study_id):
            if attempt.number is not None and attempt.outcome is not None:
                self._tell_one(trials[attempt.number], attempt, attempt.outcome)
            self._store.attempts.told(attempt.id)

    def _tell_one(self, frozen: FrozenTrial, attempt: AttemptRecord, outcome: Outcome) -> None:
        if frozen.state.is_finished():
            return  # told before its teller died, or ended by a user in the dashboard
        trial = Trial(self._study, frozen._trial_id)  # noqa: SLF001  as above
        for name in outcome.constraints.keys() - trial.constraints.keys():
            trial.set_constraint(name, outcome.constraints[name])
        for name, value in (_attributes(attempt, outcome) | self._scored(outcome)).items():
            trial.set_user_attr(name, value)
        values = list(outcome.values) if outcome.verdict is Verdict.COMPLETE else None
        self._study.tell(trial, values=values, state=STATES[outcome.verdict])

    def _scored(self, outcome: Outcome) -> dict[str, object]:
        """The goals' metrics as attributes of their own: optuna-dashboard makes sortable axes of numbers only."""
        goals = self._spec.goals
        names = [each.metric for each in goals.objectives] + [each.metric for each in goals.constraints]
        return {name: outcome.metrics[name] for name in names if name in outcome.metrics}


def _attributes(attempt: AttemptRecord, outcome: Outcome) -> dict[str, object]:
    """What optuna-dashboard shows beside the parameters."""
    known = {
        "attempt": attempt.id,
        "kind": attempt.kind.value,
        "worker": attempt.worker_id,
        "cause": outcome.cause.value if outcome.cause else None,
        "reason": outcome.reason,
        "advice": outcome.cause.advice if outcome.cause else None,
        "level": outcome.level,
        "metrics": dict(outcome.metrics),
        "phases_s": {phase.value: round(seconds, 3) for phase, seconds in outcome.phases_s.items()},
        "effective_config": dict(outcome.effective_config),
    }
    return {name: value for name, value in known.items() if value}
