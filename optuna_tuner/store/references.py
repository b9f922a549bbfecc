"""The baseline's answers, in a study that holds the others' against them: without them no other attempt is given.

Until they are there, every attempt of such a study is one of the baseline.
"""

from __future__ import annotations

from sqlalchemy import Connection

from optuna_tuner.store.attempt_rows import attempts_where, queue, queued
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, Desired
from optuna_tuner.store.studies import study_of
from optuna_tuner.store.tables import ATTEMPT
from optuna_tuner.values import Params


def reference(connection: Connection, study_id: str) -> AttemptRecord | None:
    """The first baseline that gave answers, whatever became of it afterwards: so it is the same one for ever."""
    answered = (each for each in _baselines(connection, study_id) if each.outcome and each.outcome.reference)
    return min(answered, key=lambda each: (each.ended_at or each.created_at, each.id), default=None)


def lacks_reference(connection: Connection, study_id: str) -> bool:
    """Whether the baseline was tried, or is, and gave no answers yet."""
    return bool(_baselines(connection, study_id)) and reference(connection, study_id) is None


def failed_baseline(connection: Connection, study_id: str) -> AttemptRecord | None:
    """What `Attempts.failed_baseline` promises."""
    tried = _baselines(connection, study_id)
    is_open = any(each.state is not AttemptState.ENDED for each in tried)
    if not tried or is_open or reference(connection, study_id):
        return None
    followed = {each.retry_of for each in tried}
    return next(each for each in reversed(tried) if each.id not in followed)  # by clocks of several hosts none is last


def try_baseline_again(connection: Connection, study_id: str, fresh: str) -> None:
    """What `Attempts.try_baseline_again` promises. A repeated call finds the new try in the queue."""
    study = study_of(connection, study_id, lock=True)
    last = failed_baseline(connection, study_id)
    if study.desired is Desired.RUN and last is not None:
        queue(connection, queued(fresh, study_id, AttemptKind.BASELINE, Params(), retry_of=last.id))


def _baselines(connection: Connection, study_id: str) -> tuple[AttemptRecord, ...]:
    return attempts_where(connection, (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.kind == AttemptKind.BASELINE.value))
