"""Which flags of a confirmed winner may be left out: predicted once, before simpler configurations are measured."""

from __future__ import annotations

from optuna_tuner.search.confirming import unthought
from optuna_tuner.search.reruns import settings
from optuna_tuner.search.worth import drops_of
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord, Drops
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.objections import known_bad
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.values import Params


class Dropping:
    """What one worker of a study does for `confirm.simplify`."""

    def __init__(self, setting: Setting, history: History) -> None:
        self._setting, self._history = setting, history
        self._last: tuple[AttemptRecord, ...] = ()

    def look(self) -> None:
        """Keep what may be left out with the study, where its winner has won and nobody has done so yet.

        All attempts are read for that, so only after one of them has ended.
        """
        if not settings(self._setting.spec).simplify:
            return
        store, study_id = self._setting.store, self._setting.study_id
        last = store.attempts.last_ended(study_id, 1)
        if last == self._last:
            return
        record = store.studies.by_id(study_id)
        spec = StudySpec.model_validate_json(record.spec_json)  # it may have been resumed with another
        found = unthought(spec, store.attempts.of(study_id), store.workers.all(study_id), record.drops)
        if found is not None and record.reserved >= record.budget:
            store.studies.set_drops(record, self._drops(found.winner, settings(spec).min_gain))
        self._last = last

    def _drops(self, winner: AttemptRecord, margin: float) -> Drops:
        setting, params = self._setting, winner.params or Params()
        objection = known_bad(setting.spec, setting.parts, setting.model, setting.slot)
        return drops_of(params, self._history.worths(winner.number or 0, objection, margin), margin)
