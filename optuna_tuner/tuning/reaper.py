"""Takes back what dead workers held: their servers are ended, their parameters are tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from optuna_tuner.clock import now
from optuna_tuner.contracts import Deployer
from optuna_tuner.errors import TunerError
from optuna_tuner.search.verdict import ended
from optuna_tuner.spec.study import Limits
from optuna_tuner.store.records import AttemptRecord, Desired, ResourceRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.deployment import end_server
from optuna_tuner.tuning.host import is_of_this_machine, is_provably_gone
from optuna_tuner.tuning.leases import Leases
from optuna_tuner.values import Cause

PAUSE_S = 60.0  # before a server that could not be ended is tried again: nobody else's trials shall wait for it

DeployerOf = Callable[[str, str], Deployer]  # by a study's id and the deployer's kind

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A server that could not be ended, and why. `elsewhere`: it is for another machine to do."""

    server: str
    reason: str
    elsewhere: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """An attempt of a dead worker. `again`: its parameters wait in the queue."""

    attempt: AttemptRecord
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What one pass of a reaper did, and what it had to leave."""

    workers: tuple[WorkerRecord, ...] = ()  # declared dead
    servers: tuple[str, ...] = ()  # ended, by name
    attempts: tuple[TakenBack, ...] = ()
    left: tuple[Left, ...] = ()

    def then(self, later: Reaped) -> Reaped:
        """Both passes as one; what the later one had to leave is what is left."""
        return Reaped(
            workers=self.workers + later.workers,
            servers=self.servers + later.servers,
            attempts=self.attempts + later.attempts,
            left=later.left or self.left,
        )


class Reaper:
    """Judges the workers of one study, and takes back what the dead ones held. It needs no worker and no slot.

    Each step stands on the rows alone: where one reaper dies, the next one goes on, and two at once do no harm.
    `everywhere`: servers of other studies' dead workers are ended too, since they may hold this host's devices.
    """

    def __init__(
        self, store: Store, study_id: str, limits: Limits, deployer_of: DeployerOf, *, everywhere: bool = False
    ) -> None:
        self._store, self._study_id, self._limits = store, study_id, limits
        self._deployer_of, self._everywhere = deployer_of, everywhere
        self.leases = Leases(limits.lease_s)
        self._again_at: dict[str, float] = {}

    def look(self) -> None:
        """Count how long each worker has been silent. To be called every `leases.look_every_s`, from any thread."""
        self.leases.look(self._store.workers.alive(self._study_id))

    def reap(self) -> Reaped:
        """Retire every dead worker of the study, end what retired ones left running, and queue it again."""
        alive = self._store.workers.alive(self._study_id)
        dead = tuple(worker for worker in alive if is_provably_gone(worker) or self.leases.is_over(worker))
        for worker in dead:
            logger.warning("worker %s on %s is dead; its trial is tried again", worker.id, worker.host)
            self._store.workers.retire(worker.id)
        servers, left = self._end_servers()
        attempts = self._end_attempts({worker.id for worker in alive} - {worker.id for worker in dead})
        return Reaped(workers=dead, servers=servers, attempts=attempts, left=left)

    def undecided(self) -> tuple[WorkerRecord, ...]:
        """Workers that may live, and whose process cannot be seen from here: only time will tell."""
        return tuple(each for each in self._store.workers.alive(self._study_id) if not is_of_this_machine(each))

    def end_own(self, worker_id: str) -> tuple[Left, ...]:
        """End what this worker itself could not take down; what is left has nobody else to end it."""
        resources = self._store.ledger.open_of(worker_id)
        worker = self._store.workers.get(worker_id) if resources else None
        found = [self._end_server(resource, worker, own=True) for resource in resources if worker is not None]
        return tuple(each for each in found if isinstance(each, Left))

    def _end_servers(self) -> tuple[tuple[str, ...], tuple[Left, ...]]:
        found = [self._end_server(resource, worker) for resource, worker in self._ownerless()]
        gone = tuple(each for each in found if isinstance(each, str))
        return gone, tuple(each for each in found if isinstance(each, Left))

    def _ownerless(self) -> Iterable[tuple[ResourceRecord, WorkerRecord]]:
        for resource in self._store.ledger.open_all():
            worker = self._store.workers.get(resource.worker_id)
            ours = self._everywhere or worker.study_id == self._study_id
            if worker.retired and ours and self._again_at.get(resource.id, 0.0) <= now():
                yield resource, worker

    def _end_server(self, resource: ResourceRecord, worker: WorkerRecord, *, own: bool = False) -> str | Left:
        """Its name when it is gone for certain. Whose own server it is holds the GPUs, and can say if they are back."""
        name, elsewhere = resource.request.name, not is_of_this_machine(worker)
        try:
            deployer = self._deployer_of(worker.study_id, resource.request.deployer)
            if deployer.host_bound and elsewhere:
                return self._leave(resource, f"only {worker.host} can see and end it", elsewhere=True)
            end_server(deployer, resource.attempt_id, worker.slot.gpus if own else (), 0)
            if not own and deployer.host_bound and set(worker.slot.gpus) & set(gpus.quarantined()):
                return self._leave(resource, "its processes are gone, but a GPU did not come back", elsewhere=False)
        except (TunerError, OSError, ValueError) as error:  # ValueError: options of a deployer that has changed
            logger.warning("%s could not be ended; trying again later: %s", name, error)
            return self._leave(resource, str(error), elsewhere=elsewhere)
        self._store.ledger.gone(resource.id)
        return name

    def _leave(self, resource: ResourceRecord, reason: str, *, elsewhere: bool) -> Left:
        self._again_at[resource.id] = now() + PAUSE_S
        return Left(server=resource.request.name, reason=reason, elsewhere=elsewhere)

    def _end_attempts(self, alive: set[str]) -> tuple[TakenBack, ...]:
        """What a retired worker left running. Nobody else may end it, and all others would wait for it."""
        taken = []
        for attempt in self._store.attempts.running(self._study_id):
            if attempt.worker_id is not None and attempt.worker_id not in alive:
                worker = self._store.workers.get(attempt.worker_id)
                taken.append(self._end_attempt(attempt, worker) if worker.retired else None)
        return tuple(each for each in taken if each)

    def _end_attempt(self, attempt: AttemptRecord, worker: WorkerRecord) -> TakenBack | None:
        """None when somebody else was here first."""
        unwanted = attempt.cancel or self._store.studies.by_id(self._study_id).desired is Desired.CANCEL
        lost = ended(Cause.WORKER_LOST, f"worker {worker.id} on {worker.host} died")
        outcome = ended(Cause.CANCELLED, "cancelled by a user") if unwanted else lost
        retry = not unwanted and attempt.tries < self._limits.tries
        mine = self._store.attempts.end(attempt.id, worker.id, outcome, retry=retry)
        return TakenBack(attempt=attempt, again=retry) if mine else None
