"""A worker: one process, one slot, one trial at a time, until the study is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import TypeVar

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import EnvironmentFaultError, StoppedError, StoreError, TunerError
from optuna_tuner.search.confirming import again_of
from optuna_tuner.search.verdict import ended
from optuna_tuner.spec.effects import asks_for_answers
from optuna_tuner.store.records import AttemptRecord, Desired, Outcome, StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.breaker import give_up_if_broken, give_up_without_answers
from optuna_tuner.tuning.budget import GpuTime
from optuna_tuner.tuning.drops import Dropping
from optuna_tuner.tuning.estimates import estimates_of
from optuna_tuner.tuning.frontier import Frontier
from optuna_tuner.tuning.gpus import demand_healthy
from optuna_tuner.tuning.heart import Heart
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.lookout import Lookout
from optuna_tuner.tuning.plateau import Plateau
from optuna_tuner.tuning.problem import problem_of
from optuna_tuner.tuning.reaper import Reaper
from optuna_tuner.tuning.servers import Servers, objection_of
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.tuning.trial import outcome_of_trial
from optuna_tuner.values import Blame, Cause

LOOK_EVERY_S = 1.0
OWN_SERVER_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)  # between tries to end a server that did not let itself be taken down

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class _Work(Enum):
    """What there is instead of an attempt."""

    LATER = "later"  # others may give some back, or the study may be resumed
    NONE = "none"


class Worker:
    """Claims attempts of one study and runs them. `heart` can be told to interrupt it from any thread."""

    def __init__(self, setting: Setting, record: StudyRecord, reaper: Reaper, deadline: Deadline) -> None:
        self._setting, self._reaper, self._deadline = setting, reaper, deadline
        self._store: Store = setting.store
        self._servers = Servers(setting)
        self._frontier = Frontier(setting, self._servers)
        self._history = History(
            setting.store,
            record,
            setting.spec,
            objection_of(setting, self._servers),
            self._frontier.away,
            problem_of(setting.spec, setting.parts.engine, estimates_of(setting)),
        )
        self._plateau = Plateau(setting, self._servers, self._history)
        self._dropping = Dropping(setting, self._history)
        self._asks = asks_for_answers(setting.spec)
        self._gpu_time = GpuTime(setting.store, setting.study_id)
        self._lookout = Lookout(setting.store, reaper)
        self.heart = Heart(setting.store, setting.worker_id, setting.spec.limits.lease_s)

    def run(self, max_trials: int | None = None) -> int:
        """Work until the study is done or paused for good, or the worker is interrupted; returns the trials run.

        A repeat, which ends without being measured, is none of them.

        Raises StoreError when the database was away for too long, and EnvironmentFaultError when a server of its own
        cannot be ended, or a newer version of this program has upgraded the tables. After an interrupt, or when it was
        declared dead, it raises neither: the heart says which it was.
        """
        count = 0
        try:
            with self.heart, self._lookout:
                self._try_baseline_again()
                while (max_trials is None or count < max_trials) and (attempt := self._next()) is not None:
                    count += self._run(attempt)
            self._say_drained()
        except TunerError as error:
            self._store.hurry.set()  # what was waited for in vain is not waited for again
            if not self._must_end():
                raise
            logger.warning("ends without a last word: %s", error)
        finally:
            self._leave()
        return count

    def _must_end(self) -> bool:
        return self.heart.orders.fenced or self.heart.interrupted.is_set()

    def _leave(self) -> None:
        """Say good-bye; where nobody listens, the other workers find out by themselves."""
        try:
            self._store.workers.retire(self._setting.worker_id)
            self._history.settle()
        except StoreError as error:
            logger.warning("no good-bye: %s", error)

    def _say_drained(self) -> None:
        if self.heart.orders.drain:
            raise EnvironmentFaultError(
                "the tables were upgraded by a newer optuna-tuner; this worker has ended after its trial: "
                "upgrade optuna-tuner here too, and start it again"
            )

    def _next(self) -> AttemptRecord | None:
        """The next attempt; None when there will be none. Waits while others may still give some back."""
        while True:
            found = surely(self._look_for_work)
            if isinstance(found, AttemptRecord):
                return found
            if found is _Work.NONE:
                return None
            self._wait(LOOK_EVERY_S)

    def _look_for_work(self) -> AttemptRecord | _Work:
        surely(self._reaper.reap)
        surely(self._history.tell)
        if self._is_over():
            return _Work.NONE
        demand_healthy(self._setting.slot.gpus)
        self._end_own_servers()
        surely(self._plateau.look)
        surely(self._dropping.look)
        running = self._running()  # whoever ends between this look and the claim may have given a trial back
        mine = any(attempt.worker_id == self._setting.worker_id for attempt in running)
        is_open = mine or self._frontier.is_open()
        attempt = self._claim(search=is_open)
        if attempt is not None:
            return attempt
        left = running or self._store.attempts.active(self._setting.study_id)  # what waits now is for another slot
        if self.heart.orders.desired is Desired.PAUSE or left:
            return _Work.LATER
        if not is_open:
            self._frontier.exhaust()
            attempt = self._claim(search=False)  # the best may be measured again
        self._give_up_without_answers()
        self._listen()
        return _Work.NONE if attempt is None else attempt

    def _running(self) -> Sequence[AttemptRecord]:
        return self._store.attempts.running(self._setting.study_id)

    def _claim(self, *, search: bool) -> AttemptRecord | None:
        setting, spec = self._setting, self._setting.spec
        return self._store.attempts.claim(
            setting.study_id,
            setting.worker_id,
            baseline=spec.baseline,
            first=spec.first_params,
            answers_first=self._asks,
            baseline_every=spec.baseline_every,
            search=search,
            again=again_of(spec),
        )

    def _try_baseline_again(self) -> None:
        """Who starts a study again that ended for want of the baseline's answers wants it tried anew."""
        if self._asks:
            self._store.attempts.try_baseline_again(self._setting.study_id)

    def _give_up_without_answers(self) -> None:
        if self._asks:
            give_up_without_answers(self._store, self._setting.study_id)

    def _is_over(self) -> bool:
        self.heart.judge()
        orders = self.heart.orders
        unwanted = orders.fenced or orders.drain or orders.desired not in {Desired.RUN, Desired.PAUSE}
        return unwanted or self.heart.interrupted.is_set() or self._deadline.passed or self._gpu_time_is_spent()

    def _gpu_time_is_spent(self) -> bool:
        limit = self._setting.spec.budget.gpu_time_s
        if limit is None or self._gpu_time.spent_s() < limit:
            return False
        self._store.studies.give_up(self._setting.study_id, f"the GPU time is spent: budget.gpu_time_s is {limit:g}")
        return True

    def _end_own_servers(self) -> None:
        """Claim nothing while a server of ours may still hold the slot."""
        left = self._reaper.end_own(self._setting.worker_id)
        for pause_s in OWN_SERVER_PAUSES_S:
            if not left or self._must_end():
                return
            self._wait(pause_s)
            left = self._reaper.end_own(self._setting.worker_id)
        if left:
            raise EnvironmentFaultError(f"{left[0].server} cannot be ended, and may hold its slot: {left[0].reason}")

    def _listen(self) -> None:
        """Hear at once whether we were declared dead; the next beat would come too late to tell it from the end."""
        try:
            self.heart.beat()
        except StoreError as error:
            logger.warning("no beat: %s", error)

    def _wait(self, seconds: float) -> None:
        try:
            poll(lambda: None, Deadline.after(seconds, self.heart.interrupted))
        except StoppedError:
            return

    def _run(self, attempt: AttemptRecord) -> bool:
        """Whether it came to a trial of its own."""
        stop = self.heart.take(attempt.id)
        try:
            folder = self._store.artifacts.attempt_folder(self._setting.study_id, attempt.id)
            self._servers.look()  # the sampler keeps away from those that are known
            trial, params = self._history.ask(attempt)
            self._lookout.follow(attempt.id, trial)
            journal = Journal(self._store, replace(attempt, number=trial.number, params=params), folder)
            outcome = outcome_of_trial(self._setting, journal, self._servers, self._history.give_up(trial), stop)
        except StoppedError as error:
            outcome = ended(Cause.STOPPED, str(error))
        except StoreError as error:
            if not self._must_end():
                raise
            outcome = ended(Cause.STOPPED, str(error))
        except Exception as error:  # the top of a worker: a fault of ours must not end the night
            logger.exception("attempt %s failed by a fault of this program", attempt.id)
            outcome = ended(Cause.MACHINE, f"{type(error).__name__}: {error}")
        finally:
            self._lookout.leave()
        self._end(attempt, outcome)
        self.heart.take(None)
        return outcome.same_as is None

    def _end(self, attempt: AttemptRecord, outcome: Outcome) -> None:
        if outcome.cause is Cause.STOPPED and self.heart.cause is Cause.CANCELLED:
            outcome = ended(Cause.CANCELLED, "cancelled by a user")
        try:
            mine = self._write(attempt, outcome)
        except TunerError:
            raise
        except Exception as error:  # the top of a worker: else it would claim this attempt for ever
            logger.exception("the outcome of attempt %s cannot be written", attempt.id)
            outcome = ended(Cause.MACHINE, f"{type(error).__name__}: {error}")
            mine = self._write(attempt, outcome)
        if not mine:
            logger.warning("attempt %s belongs to somebody else by now; its result is dropped", attempt.id)
            self._listen()
            return
        surely(self._history.tell)
        if _by_the_machine(outcome):
            surely(self._look_for_a_broken_machine)

    def _write(self, attempt: AttemptRecord, outcome: Outcome) -> bool:
        interrupted = outcome.cause is Cause.STOPPED
        retry = interrupted or (_by_the_machine(outcome) and attempt.tries < self._setting.spec.limits.tries)
        return self._store.attempts.end(
            attempt.id, self._setting.worker_id, outcome, retry=retry, count_try=not interrupted
        )

    def _look_for_a_broken_machine(self) -> None:
        give_up_if_broken(self._store, self._setting.study_id, self._setting.spec.limits.same_fault)


def surely(step: Callable[[], Result]) -> Result | None:
    """What a step between two trials returns; a fault of ours in it must not end the night."""
    try:
        return step()
    except TunerError:
        raise
    except Exception:  # the top of a worker
        logger.exception("a step between two trials failed by a fault of this program; going on")
        return None


def _by_the_machine(outcome: Outcome) -> bool:
    return outcome.cause is not None and outcome.cause.blame is Blame.MACHINE
