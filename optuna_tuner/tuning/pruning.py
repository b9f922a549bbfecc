"""Whether the load levels that are left of a trial are worth measuring: by Optuna's pruner, or by a race of our own."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import Trial

from optuna_tuner.errors import StoppedError
from optuna_tuner.search.racing import front, is_beaten, is_settled
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.trial import GiveUp

SETTLED = "no more load was measured after {} levels: the last two broke the same promise"


def give_up_of(store: Store, study_id: str, spec: StudySpec, trial: Trial) -> GiveUp:
    """What is asked after each load level. Raises optuna.TrialPruned, or StoppedError.

    What is measured again is measured to its end. A search for the most load has no pruner.
    """
    watch = _Watch(store=store, study_id=study_id, spec=spec)

    def look(journal: Journal) -> bool:
        if journal.attempt.kind.again:
            return False
        watch.tell(journal, trial)
        return (
            spec.pruner.kind == "racing" and journal.attempt.kind is not AttemptKind.BASELINE and watch.is_run(journal)
        )

    return look


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """Over one trial of a study."""

    store: Store
    study_id: str
    spec: StudySpec

    def tell(self, journal: Journal, trial: Trial) -> None:
        """Tell Optuna what was found so far, for its own pruners and for the dashboard; it takes one objective."""
        step, value = len(journal.measurements), journal.so_far(self.spec.goals)
        unasked = self.spec.pruner.kind == "none" and not journal.sought
        if unasked or value is None or len(self.spec.goals.objectives) > 1:
            return
        try:
            self.store.weathered(lambda: trial.report(value, step))
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise StoppedError("the trial was ended in Optuna's history by somebody else") from error
        journal.intermediate[step] = value
        if self.store.weathered(trial.should_prune):
            raise optuna.TrialPruned

    def is_run(self, journal: Journal) -> bool:
        """Whether the race is over for it, with what it has. Raises optuna.TrialPruned where others have won it."""
        goals, own = self.spec.goals, journal.measurements
        if is_settled(goals, own):
            journal.remarks += (SETTLED.format(len(own)),)
            return True
        if is_beaten(goals, own, front(goals, self.store.attempts.of(self.study_id))):
            raise optuna.TrialPruned
        return False
