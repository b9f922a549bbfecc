"""A worker: one process, one slot, one trial at a time, until the study is done."""

from __future__ import annotations

import logging

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import StoppedError
from optuna_tuner.store.records import AttemptRecord, Desired, Outcome, StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.budget import gpu_time_s
from optuna_tuner.tuning.heart import Heart
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.reaper import Reaper
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.tuning.trial import outcome_of_trial
from optuna_tuner.tuning.verdict import ended
from optuna_tuner.values import Blame, Cause

LOOK_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Worker:
    """Claims attempts of one study and runs them. `heart` can be told to interrupt it from a signal handler."""

    def __init__(self, setting: Setting, record: StudyRecord, deadline: Deadline) -> None:
        self._setting, self._deadline = setting, deadline
        self._store: Store = setting.store
        self._history = History(setting.store, record, setting.spec)
        self._reaper = Reaper(setting)
        self.heart = Heart(setting.store, setting.worker_id)

    def run(self, max_trials: int | None = None) -> int:
        """Work until the study is done or paused for good, or the worker is interrupted; returns the trials run."""
        count = 0
        try:
            with self.heart:
                while (max_trials is None or count < max_trials) and (attempt := self._next()) is not None:
                    self._run(attempt)
                    count += 1
        finally:
            self._store.workers.retire(self._setting.worker_id)  # after the last beat, which would take it for a fence
            self._history.tell()
        return count

    def _next(self) -> AttemptRecord | None:
        """The next attempt; None when there will be none. Waits while others may still give some back."""
        while True:
            self._reaper.reap()
            self._history.tell()
            if self._is_over():
                return None
            attempt = self._claim()
            if attempt is not None:
                return attempt
            if self.heart.orders.desired is not Desired.PAUSE and not self._others_are_busy():
                return None
            self._wait()

    def _is_over(self) -> bool:
        orders = self.heart.orders
        unwanted = orders.fenced or orders.desired not in {Desired.RUN, Desired.PAUSE}
        return unwanted or self.heart.interrupted.is_set() or self._deadline.passed or self._gpu_time_is_spent()

    def _gpu_time_is_spent(self) -> bool:
        limit, setting = self._setting.spec.budget.gpu_time_s, self._setting
        if limit is None:
            return False
        return gpu_time_s(self._store.attempts.of(setting.study_id), len(setting.slot.gpus)) >= limit

    def _claim(self) -> AttemptRecord | None:
        setting = self._setting
        return self._store.attempts.claim(setting.study_id, setting.worker_id, baseline=setting.spec.baseline)

    def _others_are_busy(self) -> bool:
        return bool(self._store.attempts.running(self._setting.study_id))

    def _wait(self) -> None:
        try:
            poll(lambda: None, Deadline.after(LOOK_EVERY_S, self.heart.interrupted))
        except StoppedError:
            return

    def _run(self, attempt: AttemptRecord) -> None:
        stop = self.heart.take(attempt.id)
        try:
            folder = self._store.artifacts.attempt_folder(self._setting.study_id, attempt.id)
            journal = Journal(self._store, attempt, folder)
            trial, params = self._history.ask(attempt)
            outcome = outcome_of_trial(self._setting, params, journal, self._history.give_up(trial), stop)
        except StoppedError as error:
            outcome = ended(Cause.STOPPED, str(error))
        except Exception as error:  # the top of a worker: a fault of ours must not end the night
            logger.exception("attempt %s failed by a fault of this program", attempt.id)
            outcome = ended(Cause.MACHINE, f"{type(error).__name__}: {error}")
        self._end(attempt, outcome)
        self.heart.take(None)

    def _end(self, attempt: AttemptRecord, outcome: Outcome) -> None:
        if outcome.cause is Cause.STOPPED and self.heart.cause is Cause.CANCELLED:
            outcome = ended(Cause.CANCELLED, "cancelled by a user")
        interrupted = outcome.cause is Cause.STOPPED
        machine = outcome.cause is not None and outcome.cause.blame is Blame.MACHINE
        retry = interrupted or (machine and attempt.tries < self._setting.spec.limits.tries)
        mine = self._store.attempts.end(
            attempt.id, self._setting.worker_id, outcome, retry=retry, count_try=not interrupted
        )
        if not mine:
            logger.warning("attempt %s belongs to somebody else by now; its result is dropped", attempt.id)
        self._history.tell()
