"""What the store must do, said again in plain Python: no database, no product, nothing shared with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

QUEUED, RUNNING, ENDED = "queued", "running", "ended"
INTENT, CREATED, GONE = "intent", "created", "gone"
RUN, STOP = "run", "stop"
NO_FLAGS = '{"flags":{},"env":{}}'


@dataclass(slots=True)
class Attempt:
    """One attempt. Its id is empty until the store has said which one it gave."""

    kind: str
    tries: int = 1
    retry_of: str | None = None
    params: str | None = None
    id: str = ""
    state: str = QUEUED
    worker: str | None = None
    number: int | None = None
    phase: str = "queue"
    cancel: bool = False
    cause: str | None = None
    told: bool = False
    retried: bool = False


@dataclass(slots=True)
class Worker:
    """One worker."""

    id: str
    retired: bool = False
    beats: int = 0


@dataclass(slots=True)
class Resource:
    """One line of the ledger."""

    id: str
    attempt: str
    worker: str
    handle: int | None = None
    state: str = INTENT


@dataclass(slots=True)
class Ending:
    """What somebody says at an attempt's end."""

    cause: str | None
    retry: bool
    count_try: bool = True


@dataclass(slots=True)
class Model:
    """One study and all that belongs to it. Each method returns what the store must answer."""

    budget: int
    baseline: bool
    reserved: int = 0
    desired: str = RUN
    ended_because: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)

    def claim(self, worker: Worker) -> Attempt | None:
        if worker.retired:
            return None
        mine = next(self.running_of(worker), None)
        if mine is not None or self.desired != RUN:
            return mine
        chosen = next((each for each in self.attempts if each.state == QUEUED), None) or self._reserve()
        if chosen is not None:
            chosen.state, chosen.worker = RUNNING, worker.id
        return chosen

    def _reserve(self) -> Attempt | None:
        if self.reserved >= self.budget:
            return None
        self.reserved += 1
        first = self.baseline and not self.attempts
        attempt = Attempt(kind="baseline", params=NO_FLAGS) if first else Attempt(kind="search")
        self.attempts.append(attempt)
        return attempt

    def running_of(self, worker: Worker) -> Iterator[Attempt]:
        return (each for each in self.attempts if each.worker == worker.id and each.state == RUNNING)

    def asked(self, attempt: Attempt, number: int) -> bool | None:
        """None: refused, because another attempt has this number."""
        if attempt.state != RUNNING:
            return False
        if attempt.number is not None:
            return attempt.number == number
        if any(each.number == number for each in self.attempts):
            return None
        attempt.number = number
        return True

    def chosen(self, attempt: Attempt, params: str) -> bool:
        if attempt.state != RUNNING or attempt.number is None:
            return False
        attempt.params = params
        return True

    def enter(self, attempt: Attempt, phase: str) -> bool:
        if attempt.state != RUNNING:
            return False
        attempt.phase = phase
        return True

    def end(self, attempt: Attempt, worker: str, ending: Ending) -> bool:
        if attempt.state != RUNNING or attempt.worker != worker:
            return False
        self._close(attempt, ending.cause)
        if ending.retry:
            attempt.retried = True
            tries = attempt.tries + ending.count_try
            self.attempts.append(Attempt(kind=attempt.kind, tries=tries, retry_of=attempt.id, params=attempt.params))
        return True

    def _close(self, attempt: Attempt, cause: str | None) -> None:
        attempt.state, attempt.cause = ENDED, cause
        attempt.told = attempt.number is None

    def told(self, attempt: Attempt) -> None:
        if attempt.state == ENDED:
            attempt.told = True

    def cancel(self, attempt: Attempt) -> None:
        if attempt.state == QUEUED:
            self._close(attempt, "cancelled")
        elif attempt.state == RUNNING:
            attempt.cancel = True

    def intend(self, resource: Resource) -> bool:
        attempt, worker = self.attempt(resource.attempt), self.workers[resource.worker]
        if worker.retired:
            return False
        if resource.id in self.resources:
            return True
        if attempt.state != RUNNING or attempt.worker != worker.id:
            return False
        self.resources[resource.id] = resource
        return True

    def created(self, resource: Resource, handle: int) -> bool:
        if self.workers[resource.worker].retired:
            return False
        if resource.state != INTENT:
            return resource.state == CREATED and resource.handle == handle
        resource.state, resource.handle = CREATED, handle
        return True

    def gone(self, resource: Resource) -> None:
        resource.state = GONE

    def want(self, desired: str) -> None:
        self.desired = desired
        if desired == RUN:
            self.ended_because = None

    def give_up(self, reason: str) -> None:
        if self.desired == RUN:
            self.desired, self.ended_because = STOP, reason

    def set_budget(self, trials: int) -> None:
        self.budget = max(trials, self.reserved)

    def attempt(self, attempt_id: str) -> Attempt:
        return next(each for each in self.attempts if each.id == attempt_id)
