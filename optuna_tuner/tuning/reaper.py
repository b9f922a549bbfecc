"""Takes back what dead workers held: their servers are ended, their parameters are tried again."""

from __future__ import annotations

import logging

from optuna_tuner.clock import now
from optuna_tuner.errors import TrialError
from optuna_tuner.store.records import AttemptRecord, ResourceRecord, WorkerRecord
from optuna_tuner.tuning.host import process_lives, this_host
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.tuning.verdict import ended
from optuna_tuner.values import Cause

TTL_S = 60.0  # for workers whose process cannot be seen from here; one that can is missed at once
LOOK_COUNTS_S = 10.0  # a longer pause between two looks was ours, or the database's, and proves no silence

logger = logging.getLogger(__name__)


class Reaper:
    """Watches the other workers of a study by its own monotonic clock: wall clocks of two hosts never meet.

    It belongs to one worker, which calls it between two trials.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting, self._store, self._deployer = setting, setting.store, setting.parts.deployer
        self._seen: dict[str, tuple[int, float, float]] = {}  # beat, how long it stood still, when it was looked at

    def reap(self) -> int:
        """Retire every dead worker of the study, and end what retired ones left; returns how many were dead.

        Each step stands on the rows alone: where one reaper dies, the next one goes on.
        """
        dead = [worker for worker in self._store.workers.alive(self._setting.study_id) if self._is_dead(worker)]
        for worker in dead:
            logger.warning("worker %s on %s is dead; its trial is tried again", worker.id, worker.host)
            self._store.workers.retire(worker.id)
        self._end_servers()
        self._end_attempts()
        return len(dead)

    def _is_dead(self, worker: WorkerRecord) -> bool:
        here = this_host()
        if (worker.host, worker.boot_id) == (here.host, here.boot_id):
            return not process_lives(worker.pid, worker.pid_start)
        beat, silent_s, looked_at = self._seen.get(worker.id, (-1, 0.0, 0.0))
        silent_s = silent_s + min(now() - looked_at, LOOK_COUNTS_S) if beat == worker.beat else 0.0
        self._seen[worker.id] = (worker.beat, silent_s, now())
        return silent_s > TTL_S

    def _end_servers(self) -> None:
        """Those of retired workers of all studies, and those that our own worker could not take down."""
        mine = self._setting.worker_id
        hosts = {worker.id: worker.host for worker in self._store.workers.all() if worker.retired or worker.id == mine}
        for resource in self._store.ledger.open_all():
            if resource.worker_id in hosts:
                self._end_server(resource, hosts[resource.worker_id])

    def _end_server(self, resource: ResourceRecord, host: str) -> None:
        if resource.request.deployer != self._deployer.kind:
            return
        if self._deployer.host_bound and host != this_host().host:
            return  # only a worker on that host can see it
        try:
            for handle in self._deployer.find({"attempt": resource.attempt_id}):
                self._deployer.stop(handle, 0)
        except (TrialError, OSError):
            logger.exception("%s could not be ended; trying again later", resource.request.name)
            return
        self._store.ledger.gone(resource.id)

    def _end_attempts(self) -> None:
        """What a retired worker left running. Nobody else may end it, and all others would wait for it."""
        hosts = {each.id: each.host for each in self._store.workers.all(self._setting.study_id) if each.retired}
        for attempt in self._store.attempts.running(self._setting.study_id):
            if attempt.worker_id in hosts:
                self._end_attempt(attempt, attempt.worker_id, hosts[attempt.worker_id])

    def _end_attempt(self, attempt: AttemptRecord, worker_id: str, host: str) -> None:
        lost = ended(Cause.WORKER_LOST, f"worker {worker_id} on {host} died")
        outcome = ended(Cause.CANCELLED, "cancelled by a user") if attempt.cancel else lost
        retry = not attempt.cancel and attempt.tries < self._setting.spec.limits.tries
        self._store.attempts.end(attempt.id, worker_id, outcome, retry=retry)
