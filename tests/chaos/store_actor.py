"""Does one thing to the store and to its model at once, with a mishap on the way, and compares the two answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from commit_cuts import Cut, Cutter
from store_model import CREATED, GONE, Attempt, Ending, Model, Resource, Worker
from store_rows import Reader, Rows, broken_laws, differences

from optuna_tuner.errors import ConflictError
from optuna_tuner.store.codec import encode
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import Desired, Outcome, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Handle, Params, Phase, Request, Slot

Reply = TypeVar("Reply")

TRIES = 3
CALM, RETIRED, REAPED, CANCELLED = (
    "calm",
    "reply lost, then retired",
    "reply lost, then reaped",
    "reply lost, cancelled",
)
CUTS = {Cut.BEFORE.value: Cut.BEFORE, Cut.AFTER.value: Cut.AFTER}
MEANWHILE = (RETIRED, REAPED, CANCELLED)
OUTCOMES = {
    None: Outcome(verdict=Verdict.COMPLETE, values=(1.5,)),
    "slo": Outcome(verdict=Verdict.COMPLETE, values=(0.5,), cause=Cause.SLO, constraints={"c": 0.5}),
    "crashed": Outcome(verdict=Verdict.PRUNED, cause=Cause.CRASHED, constraints={"server runs": 1.0}),
    "node_lost": Outcome(verdict=Verdict.FAIL, cause=Cause.NODE_LOST),
    "worker_lost": Outcome(verdict=Verdict.FAIL, cause=Cause.WORKER_LOST),
    "stopped": Outcome(verdict=Verdict.FAIL, cause=Cause.STOPPED),
    "cancelled": Outcome(verdict=Verdict.FAIL, cause=Cause.CANCELLED),
}


class Stage:
    """What all runs share: the store under test, another one on the same database, and a raw reader."""

    def __init__(self, url: str) -> None:
        self.store, self.other, self.reader = Store.open(url), Store.open(url), Reader(url)
        self.cutter = Cutter(self.store)
        self.counts: Counter[str] = Counter()

    def close(self) -> None:
        self.reader.close()
        self.store.close()
        self.other.close()


class Actor:
    """One study, and all who work on it."""

    def __init__(self, stage: Stage, *, budget: int, baseline: bool) -> None:
        self._store, self._other, self._stage = stage.store, stage.other, stage
        self._before: Rows | None = None
        self._study = stage.store.studies.add(name=new_id(), spec_json="{}", space_hash="", budget=budget).id
        self.model = Model(budget=budget, baseline=baseline)

    def check(self) -> None:
        """The tables keep the laws, and are what the model says."""
        after = self._stage.reader.look(self._study)
        faults = broken_laws(self._before, after) + differences(self.model, after)
        assert not faults, "; ".join(faults)
        self._before = after

    def register(self) -> None:
        slot, where = Slot(name="0", host="h"), {"host": "h", "boot_id": "b", "machine": "m"}
        record = self._store.workers.register(study_id=self._study, slot=slot, pid=1, pid_start=0.0, **where)
        self.model.workers[record.id] = Worker(record.id)
        self.count("register")

    def claim(self, worker: Worker, mishap: str) -> None:
        late, expected = worker.retired, self.model.claim(worker)
        self._prepare(mishap, worker, expected)
        reply = self._store.attempts.claim(self._study, worker.id, baseline=self.model.baseline)
        self._learn_ids()
        self._judge("claim", mishap, (reply and reply.id, expected and expected.id, None), late=late)

    def ask(self, attempt: Attempt, mishap: str, back: int = 0) -> None:
        """With the next number of Optuna's, or with one that was given before."""
        numbers = [each.number for each in self.model.attempts if each.number is not None]
        number = max(0, max(numbers, default=-1) + 1 - back)
        expected = self.model.asked(attempt, number)
        if expected is not None:
            self._write("ask", mishap, attempt, expected, lambda: self._store.attempts.asked(attempt.id, number))
            return
        self.count("ask, number taken")
        try:
            self._store.attempts.asked(attempt.id, number)
        except ConflictError:
            return
        raise AssertionError("two attempts have one trial")

    def choose(self, attempt: Attempt, mishap: str, value: int = 1) -> None:
        params = Params(flags={"x": value})
        expected = self.model.chosen(attempt, encode(params))
        self._write("choose", mishap, attempt, expected, lambda: self._store.attempts.chosen(attempt.id, params))

    def enter(self, attempt: Attempt, mishap: str, phase: Phase) -> None:
        expected = self.model.enter(attempt, phase.value)
        self._write("enter", mishap, attempt, expected, lambda: self._store.attempts.enter(attempt.id, phase))

    def intend(self, attempt: Attempt, worker: Worker, mishap: str) -> None:
        expected = self.model.intend(Resource(attempt.id, attempt.id, worker.id))
        row = {"id": attempt.id, "attempt_id": attempt.id, "worker_id": worker.id}
        request = Request(deployer="listed", name=attempt.id, body={})
        name = "intend" if worker.id == attempt.worker else "intend for another"
        self._write(
            *(name, mishap, attempt, expected), lambda: self._store.ledger.intend(**row, request=request), worker
        )

    def create(self, resource: Resource, mishap: str, number: int = 0) -> None:
        handle = Handle(deployer="listed", name=resource.id, ref={"n": number})
        attempt, worker = self.model.attempt(resource.attempt), self.model.workers[resource.worker]
        expected = self.model.created(resource, number)
        self._write(
            *("create", mishap, attempt, expected), lambda: self._store.ledger.created(resource.id, handle), worker
        )

    def gone(self, resource: Resource, mishap: str) -> None:
        self.model.gone(resource)
        self._say("gone", mishap, lambda: self._store.ledger.gone(resource.id))

    def beat(self, worker: Worker, mishap: str) -> None:
        attempt = next(self.model.running_of(worker), None)
        beats = 1 if mishap in {CALM, Cut.BEFORE} else 2  # one more than there was: it only has to change
        worker.beats += 0 if worker.retired else beats
        orders = self._say("beat", mishap, lambda: self._store.workers.beat(worker.id, attempt.id if attempt else None))
        heard = (orders.desired.value, orders.cancel_attempt, orders.fenced, orders.drain)
        assert heard == (self.model.desired, bool(attempt and attempt.cancel), worker.retired, False), heard

    def retire(self, worker: Worker, mishap: str) -> None:
        worker.retired = True
        self._say("retire", mishap, lambda: self._store.workers.retire(worker.id))

    def end(self, attempt: Attempt, worker: Worker, ending: Ending, mishap: str) -> None:
        name = "end" if attempt.worker == worker.id else "end for another"
        expected, outcome = self.model.end(attempt, worker.id, ending), OUTCOMES[ending.cause]
        how = {"retry": ending.retry, "count_try": ending.count_try}
        self._write(
            *(name, mishap, attempt, expected),
            lambda: self._store.attempts.end(attempt.id, worker.id, outcome, **how),
            worker,
        )

    def tell(self, attempt: Attempt, mishap: str) -> None:
        self.model.told(attempt)
        self._say("tell", mishap, lambda: self._store.attempts.told(attempt.id))

    def cancel(self, attempt: Attempt, mishap: str) -> None:
        name = f"cancel of one that is {attempt.state}"
        self.model.cancel(attempt)
        self._say(name, mishap, lambda: self._store.attempts.request_cancel(attempt.id))

    def want(self, desired: Desired, mishap: str) -> None:
        self.model.want(desired.value)
        self._say(f"want {desired.value}", mishap, lambda: self._store.studies.want(self._study, desired))

    def give_up(self, mishap: str) -> None:
        self.model.give_up("five in a row")
        self._say("give up", mishap, lambda: self._store.studies.give_up(self._study, "five in a row"))

    def set_budget(self, trials: int, mishap: str) -> None:
        self.model.set_budget(trials)
        self._say("budget", mishap, lambda: self._store.studies.set_budget(self._study, trials))

    def work_on(self, worker: Worker, ending: Ending, mishap: str) -> None:
        """The next thing that a worker does in the life of its attempt."""
        attempt = next(self.model.running_of(worker), None)
        if attempt is None:
            self.claim(worker, mishap)
            return
        resource = self.model.resources.get(attempt.id)
        if attempt.number is None:
            self.ask(attempt, mishap)
        elif attempt.params is None:
            self.choose(attempt, mishap)
        elif resource is None:
            self.intend(attempt, worker, mishap)
        elif resource.state not in {CREATED, GONE}:
            self.create(resource, mishap)
        elif attempt.phase != Phase.BENCHMARK.value and resource.state == CREATED:
            self.enter(attempt, mishap, Phase.BENCHMARK)
        elif resource.state == CREATED:
            self.gone(resource, CALM)
        else:
            self.end(attempt, worker, ending, mishap)

    def reap(self, worker: Worker) -> None:
        """As a reaper does: first the fence, then what is left."""
        self._retire_elsewhere(worker)
        for attempt in list(self.model.running_of(worker)):
            ending = Ending("worker_lost", retry=not attempt.cancel and attempt.tries < TRIES)
            assert self.model.end(attempt, worker.id, ending)
            assert self._other.attempts.end(attempt.id, worker.id, OUTCOMES["worker_lost"], retry=ending.retry)
            self._learn_ids()

    def count(self, what: str) -> None:
        self._stage.counts[what] += 1

    def _write(
        self,
        name: str,
        mishap: str,
        attempt: Attempt,
        expected: bool,  # noqa: FBT001  the answer
        call: Callable[[], bool],
        worker: Worker | None = None,
    ) -> None:
        owner = worker or self.model.workers.get(attempt.worker or "")
        late = owner is not None and owner.retired
        self._prepare(mishap, owner, attempt)
        reply = call()
        self._learn_ids()
        self._judge(name, mishap, (reply, expected, False), late=late)

    def _say(self, name: str, mishap: str, call: Callable[[], Reply]) -> Reply:
        """A write that nothing can refuse."""
        mishap = Cut.AFTER.value if mishap in MEANWHILE else mishap
        self.count(name)
        self._prepare(mishap, None, None)
        return call()

    def _prepare(self, mishap: str, worker: Worker | None, attempt: Attempt | None) -> None:
        if mishap == CALM:
            return
        self.count(mishap)

        def meanwhile() -> None:
            if mishap == RETIRED and worker:
                self._retire_elsewhere(worker)
            elif mishap == REAPED and worker:
                self.reap(worker)
            elif mishap == CANCELLED and attempt:
                self._cancel_elsewhere(attempt)

        self._stage.cutter.cut_next(CUTS.get(mishap, Cut.AFTER), meanwhile)

    def _judge(self, name: str, mishap: str, replies: tuple[object, object, object], *, late: bool) -> None:
        reply, expected, refusal = replies
        assert not self._stage.cutter.pending, "the cut did not come"
        fenced_meanwhile = mishap in {RETIRED, REAPED}
        assert reply == expected or (fenced_meanwhile and reply == refusal), f"{name}: {reply}, not {expected}"
        self.count(name + (", refused" if reply == refusal else "") + (", of a fenced worker" if late else ""))

    def _retire_elsewhere(self, worker: Worker) -> None:
        self._learn_ids()
        worker.retired = True
        self._other.workers.retire(worker.id)

    def _cancel_elsewhere(self, attempt: Attempt) -> None:
        self._learn_ids()
        self.model.cancel(attempt)
        self._other.attempts.request_cancel(attempt.id)

    def _learn_ids(self) -> None:
        """The store made the ids of new attempts: each is known by what it is a retry of."""
        nameless = [each for each in self.model.attempts if not each.id]
        if nameless:
            known = {each.id for each in self.model.attempts}
            rows = self._stage.reader.look(self._study).attempts.values()
            fresh = {row["retry_of"]: row["id"] for row in rows if row["id"] not in known}
            for each in nameless:
                each.id = fresh.get(each.retry_of, "")
