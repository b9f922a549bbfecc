"""Taking back what a study's dead workers held, when no worker does it: after a run, or by `optuna-tuner reap`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Timer

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import TunerError
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.history import History
from optuna_tuner.tuning.reaper import Reaped, Reaper
from optuna_tuner.tuning.setting import make_deployer

AFTERWARDS_S = 20.0  # whoever pressed Ctrl-C does not wait longer than this for a database that is away

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReaped:
    """What was taken back of one study. `undecided` workers may live: they cannot be seen from this machine."""

    study: str
    reaped: Reaped
    told: int  # outcomes that Optuna had not known
    undecided: tuple[WorkerRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseReaped:
    """What was taken back of all studies that were asked for, and how this host's GPUs stand."""

    studies: tuple[StudyReaped, ...]
    lifted: tuple[str, ...]  # GPUs that came back from quarantine
    quarantined: Mapping[str, tuple[str, str]]  # GPUs that nobody may use: since when (UTC, ISO 8601), and why


def reap_house(store: Store, kinds: Kinds, records: Iterable[StudyRecord], *, wait: bool) -> HouseReaped:
    """Take back what dead workers of these studies held, and let GPUs out of quarantine whose memory is back."""
    studies = tuple(reap_study(store, kinds, record, wait=wait) for record in records)
    return HouseReaped(studies=studies, lifted=gpus.lift(), quarantined=gpus.quarantined())


def reap_study(store: Store, kinds: Kinds, record: StudyRecord, *, wait: bool = False) -> StudyReaped:
    """Take back what dead workers of the study held, and tell Optuna. Any number may do it at once.

    A worker that cannot be seen from here is judged by its lease alone. With `wait` it is watched until its beat has
    moved, or has stood still for the lease. Raises StoreError.
    """
    spec = StudySpec.model_validate_json(record.spec_json)
    reaper = Reaper(store, record.id, spec.limits, partial(make_deployer, store, kinds))
    reaped = reaper.reap()
    if wait:
        reaped = reaped.then(_outlast(reaper, spec.limits.lease_s))
    untold = store.attempts.untold(record.id)
    History(store, record, spec).settle()
    told = sum(attempt.number is not None for attempt in untold)
    return StudyReaped(study=record.name, reaped=reaped, told=told, undecided=reaper.undecided())


def _outlast(reaper: Reaper, lease_s: float) -> Reaped:
    """Watch those that cannot be seen for a lease, or until all of them have moved."""
    beats = {worker.id: worker.beat for worker in reaper.undecided()}

    def look() -> bool | None:
        reaper.look()
        still = any(beats.get(worker.id) == worker.beat for worker in reaper.undecided())
        return None if still else True

    poll(look, Deadline.after(lease_s + 2 * reaper.leases.look_every_s), reaper.leases.look_every_s)
    return reaper.reap()


def reap_afterwards(store: Store, kinds: Kinds, record: StudyRecord) -> None:
    """The same when a run has ended, in whatever way; a failure is said, and leaves the work to the next reaper."""
    command = f'take it back with: optuna-tuner reap "{record.name}"'
    impatience = Timer(AFTERWARDS_S, store.hurry.set)
    impatience.start()
    try:
        done = reap_study(store, kinds, record)
    except TunerError as error:
        logger.warning("what this run's workers held could not be taken back (%s); %s", error, command)
        return
    finally:
        impatience.cancel()
        store.hurry.clear()
    for left in done.reaped.left:
        logger.warning("%s could not be ended: %s; %s", left.server, left.reason, command)
