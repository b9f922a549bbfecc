"""Optuna's side of a study: asked under a lock, told exactly once.

Our tables say what was attempted; Optuna's say what everybody reads. Each outcome is first written to ours, and then
told by whoever holds the study lock, so that a worker may die between the two.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from optuna_tuner.errors import ConflictError, StoppedError
from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.outlook import outlook_where_level
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.samplers import make_pruner
from optuna_tuner.search.trials import Away, Told, Trials, made_study
from optuna_tuner.search.worth import Worths, worths
from optuna_tuner.spec.space import named_in
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.codec import decode_choice
from optuna_tuner.store.records import AttemptRecord, Outcome, StudyRecord, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.attributes import attributes_of
from optuna_tuner.tuning.pruning import give_up_of
from optuna_tuner.tuning.trial import GiveUp
from optuna_tuner.values import Params

logger = logging.getLogger(__name__)

STATES = {
    Verdict.COMPLETE: TrialState.COMPLETE,
    Verdict.PRUNED: TrialState.PRUNED,
    Verdict.FAIL: TrialState.FAIL,
}


def optuna_study_exists(store: Store, name: str) -> bool:
    """Whether Optuna has a study of this name in the database, ours or a stranger's."""
    return name in store.weathered(lambda: optuna.get_all_study_names(store.optuna_storage()))


def ensure_optuna_study(store: Store, spec: StudySpec) -> None:
    """Make Optuna's study of the same name; fine where it is there already, or is made by another in this moment."""
    store.weathered(lambda: made_study(store.optuna_storage(), spec.name, spec.goals))


class History:
    """The Optuna study of one worker's study. Its trials and the attempts that were asked for correspond one to one."""

    def __init__(
        self,
        store: Store,
        record: StudyRecord,
        spec: StudySpec,
        objection: Objection = NOTHING_KNOWN,
        away: Away = lambda _: None,
        problem: Problem | None = None,
    ) -> None:
        """Read it. Who made our study may have died before it made Optuna's: then it is made now.

        `objection` is what is known against configurations: the sampler keeps away from them. `away` is asked, with a
        trial's number, before the sampler: parameters from it go first. `problem` is what the sampler is asked, with
        what the engine says of itself; by default without that.
        """
        self._store, self._study_id, self._spec = store, record.id, spec
        self._objection, self._problem = objection, problem or Problem.of(spec)
        ensure_optuna_study(store, spec)
        self._trials = Trials(store.weathered(self._load), self._problem, objection, away)

    def _load(self) -> optuna.Study:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.load_study(
                study_name=self._spec.name,
                storage=self._store.optuna_storage(),
                pruner=make_pruner(self._spec.pruner),
            )

    def ask(self, attempt: AttemptRecord) -> tuple[Trial, Params]:
        """Get a trial and its parameters: the sampler's choice, or those of the attempt where it has some.

        Raises StoppedError when the attempt was ended meanwhile.
        """
        with self._store.study_lock(self._study_id):
            return self._store.weathered(lambda: self._ask(attempt))

    def _ask(self, attempt: AttemptRecord) -> tuple[Trial, Params]:
        """First linked, then suggested: whatever is cut off leaves a trial without parameters, for the next to take."""
        trial = self._linked(attempt)
        params = self._trials.parameters(trial, attempt.params)
        for name, part in self._trials.choice.parts.items():
            trial.set_user_attr(name, part)
        choice = decode_choice(trial.user_attrs)  # an earlier call whose reply was lost may have made it
        if (earlier := self._asked_before(attempt)) is not None:
            trial.set_user_attr("retry_of", earlier)
        if not self._store.attempts.chosen(attempt.id, params, choice):
            raise _ended_meanwhile()
        return trial, params

    def _linked(self, attempt: AttemptRecord) -> Trial:
        number = self._store.attempts.get(attempt.id).number
        if number is not None:  # an earlier call came as far as this
            begun = next(each for each in self._trials.all() if each.number == number)
            return self._trials.resume(begun, attempt.params)
        while True:
            trial = self._unlinked(attempt)
            try:
                linked = self._store.attempts.asked(attempt.id, trial.number)
            except ConflictError:  # a restart of the database took the study lock from us, and another took the trial
                continue
            if not linked:
                raise _ended_meanwhile()
            return trial

    def _unlinked(self, attempt: AttemptRecord) -> Trial:
        """A trial that no attempt has: one whose worker died before it was linked, else a new one."""
        fresh = attempt.params is None
        strays = [stray for stray in self._strays() if fresh or _is_blank(stray)]
        return self._trials.resume(strays[0], attempt.params) if strays else self._trials.begin(attempt.params)

    def _strays(self) -> Sequence[FrozenTrial]:
        running = [trial for trial in self._trials.all() if trial.state is TrialState.RUNNING]
        linked = self._store.attempts.numbers(self._study_id)
        return [trial for trial in running if trial.number not in linked]

    def _asked_before(self, attempt: AttemptRecord) -> int | None:
        """The trial that has these parameters; a try that ended before it was asked has none."""
        while attempt.params is not None and attempt.retry_of is not None:
            attempt = self._store.attempts.get(attempt.retry_of)
            if attempt.number is not None:
                return attempt.number
        return None

    def give_up(self, trial: Trial) -> GiveUp:
        """What asks the study's pruner after each load level of a trial."""
        return give_up_of(self._store, self._study_id, self._spec, trial)

    def outlook_where_level(self, trials: int, share: float) -> float | None:
        """The gain over the best that so many more trials could bring, where that is less than `share`; else None."""
        known = self._trials.study, self._problem, self._objection
        return self._store.weathered(lambda: outlook_where_level(*known, trials, share))

    def worths(self, number: int, objection: Objection, margin: float) -> Worths | None:
        """What the flags of the trial of this number are worth; `objection` is what makes a configuration fail."""
        return self._store.weathered(lambda: worths(self._trials.study, self._problem, objection, number, margin))

    def tell(self) -> None:
        """Tell Optuna every outcome that it does not know yet, whoever measured it."""
        if not self._store.attempts.untold(self._study_id):
            return
        with self._store.study_lock(self._study_id):
            self._store.weathered(self._tell)

    def settle(self) -> None:
        """Tell, and in a study at rest also what nobody will adopt: a trial whose worker died before it was linked."""
        with self._store.study_lock(self._study_id):
            self._store.weathered(self._settle)

    def _settle(self) -> None:
        if not self._store.attempts.active(self._study_id):
            for stray in filter(_is_blank, self._strays()):
                attempt = self._store.attempts.asked_in_vain(self._study_id, stray.number)
                if attempt is not None:
                    self._complete(stray, attempt)
        self._tell()

    def _complete(self, trial: FrozenTrial, attempt: AttemptRecord) -> None:
        """Say in Optuna what was to be tried again, where its worker died before it had said all of it."""
        if attempt.params is None:
            return
        if named_in(self._spec.space, attempt.params).keys() - trial.params.keys():
            self._trials.parameters(self._trials.resume(trial, attempt.params), attempt.params)

    def _tell(self) -> None:
        trials = {trial.number: trial for trial in self._trials.all()}
        for attempt in self._store.attempts.untold(self._study_id):
            if attempt.number is not None and attempt.outcome is not None:
                if attempt.number not in trials:
                    logger.error("Optuna's history holds no trial %d; its outcome cannot be told", attempt.number)
                    continue
                self._tell_one(trials[attempt.number], attempt, attempt.outcome)
            self._store.attempts.told(attempt.id)

    def _tell_one(self, frozen: FrozenTrial, attempt: AttemptRecord, outcome: Outcome) -> None:
        if frozen.state.is_finished():
            return  # told before its teller died, or ended by a user in the dashboard
        # Or in this very moment: by a user, or by a teller who lost the study lock when the database was restarted.
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._complete(frozen, attempt)
            self._trials.tell(self._trials.live(frozen), self._told(attempt, outcome))

    def _told(self, attempt: AttemptRecord, outcome: Outcome) -> Told:
        return Told(
            state=STATES[outcome.verdict],
            values=outcome.values if outcome.verdict is Verdict.COMPLETE else None,
            constraints=outcome.constraints,
            attributes=attributes_of(attempt, outcome) | self._scored(outcome),
        )

    def _scored(self, outcome: Outcome) -> dict[str, object]:
        """The goals' metrics as attributes of their own: optuna-dashboard makes sortable axes of numbers only."""
        goals = self._spec.goals
        names = [each.metric for each in goals.objectives] + [each.metric for each in goals.constraints]
        return {name: outcome.metrics[name] for name in names if name in outcome.metrics}


def _is_blank(trial: FrozenTrial) -> bool:
    """Whether it can still get any parameters: it has none, and no user has fixed some."""
    return not trial.params and "fixed_params" not in trial.system_attrs


def _ended_meanwhile() -> StoppedError:
    return StoppedError("the attempt was ended by somebody else while its parameters were chosen")
