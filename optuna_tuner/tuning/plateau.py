"""The end of a search in which the trials left are not worth what they cost."""

from __future__ import annotations

from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.servers import Servers
from optuna_tuner.tuning.setting import Setting


class Plateau:
    """What one worker of a study makes of `budget.plateau`.

    Nothing is remembered: who comes later, or beside it, comes to the same estimate from the same history.
    """

    def __init__(self, setting: Setting, servers: Servers, history: History) -> None:
        self._setting, self._servers, self._history = setting, servers, history
        self._last: tuple[AttemptRecord, ...] = ()

    def look(self) -> None:
        """Conclude the search where the trials left could bring less than the study asks for; nothing before that.

        An estimate takes up to a second, so there is none but after an attempt has ended.
        """
        if self._setting.spec.budget.plateau is None:
            return
        store, study_id = self._setting.store, self._setting.study_id
        last, record = store.attempts.last_ended(study_id, 1), store.studies.by_id(study_id)
        share = StudySpec.model_validate_json(record.spec_json).budget.plateau  # it may have been resumed with another
        left = record.budget - record.reserved
        if last == self._last or share is None or not left:
            return
        self._servers.look()
        gain = self._history.outlook_where_level(left, share)
        if gain is not None:
            store.studies.conclude(record, reason(left, record.budget, gain, share))
        self._last = last


def reason(left: int, budget: int, gain: float, share: float) -> str:
    """Why the search was concluded, in words."""
    trials = "1 more trial" if left == 1 else f"{left} more trials"
    return (
        f"after {budget - left} of {budget} trials, {trials} could bring about {100 * gain:.1f} %, "
        f"less than budget.plateau ({100 * share:g} %)"
    )
