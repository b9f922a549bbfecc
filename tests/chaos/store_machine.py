"""A Hypothesis state machine over the real store: claim, beat, fence, cancel, budget, ledger, and lost replies.

Beside it runs a model in plain Python. After every step the raw tables must keep the laws and equal the model.
"""

from __future__ import annotations

from typing import ClassVar

from commit_cuts import Cut
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from store_actor import CALM, MEANWHILE, OUTCOMES, Actor, Stage
from store_model import ENDED, RUN, RUNNING, Attempt, Ending, Resource, Worker

from optuna_tuner.store.records import Desired
from optuna_tuner.values import Phase

LIVING = 4
INDEX = st.integers(0, 63)
CUTS = (Cut.BEFORE.value, Cut.AFTER.value)
MISHAP = st.sampled_from((CALM,) * 8 + CUTS + MEANWHILE)
ENDING = st.builds(Ending, st.sampled_from(list(OUTCOMES)), st.booleans(), st.booleans())
OFTEN = st.integers(0, 3)  # zero: do it


def has_attempts(machine: StoreMachine) -> bool:
    return bool(machine.actor.model.attempts)


def can_work(machine: StoreMachine) -> bool:
    return bool(machine.alive()) and machine.actor.model.desired == RUN


def has_resources(machine: StoreMachine) -> bool:
    return bool(machine.actor.model.resources)


class StoreMachine(RuleBasedStateMachine):
    """One run: a study of its own. Numbers choose among what is there, so that any number means something."""

    stage: ClassVar[Stage]
    whole: ClassVar[int]  # steps of a run that was not given up by Hypothesis

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    @initialize(budget=st.integers(1, 6), baseline=st.booleans())
    def new_study(self, budget: int, *, baseline: bool) -> None:
        self.actor = Actor(self.stage, budget=budget, baseline=baseline)
        for _ in range(LIVING - 1):
            self.actor.register()

    @rule()
    @precondition(lambda machine: len(machine.alive()) < LIVING)
    def register(self) -> None:
        self.actor.register()

    @rule(who=INDEX, ending=ENDING, mishap=MISHAP)
    def work(self, who: int, ending: Ending, mishap: str) -> None:
        self.actor.work_on(self.worker(who), ending, mishap)

    @rule(who=INDEX, count=st.integers(1, 4), ending=ENDING, mishap=MISHAP)
    @precondition(can_work)
    def work_on(self, who: int, count: int, ending: Ending, mishap: str) -> None:
        """Several steps in a row, the last one with a mishap: else few attempts would come far."""
        worker = self.living(who)
        for _ in range(count):
            self.actor.work_on(worker, ending, CALM)
        self.actor.work_on(worker, ending, mishap)

    @rule(who=INDEX, count=st.integers(3, 7), ending=ENDING)
    @precondition(can_work)
    def work_through(self, who: int, count: int, ending: Ending) -> None:
        for _ in range(count):
            self.actor.work_on(self.living(who), ending, CALM)

    @rule(who=INDEX, count=st.integers(1, 4), ending=ENDING)
    @precondition(can_work)
    def die_at_work(self, who: int, count: int, ending: Ending) -> None:
        """Fenced in the middle, and going on as if it did not know."""
        worker = self.living(who)
        for _ in range(count):
            self.actor.work_on(worker, ending, CALM)
        self.actor.retire(worker, CALM)
        self.actor.work_on(worker, ending, CALM)

    @rule(who=INDEX, mishap=MISHAP)
    def claim(self, who: int, mishap: str) -> None:
        self.actor.claim(self.worker(who), mishap)

    @rule(which=INDEX, back=st.integers(0, 2), mishap=MISHAP)
    @precondition(has_attempts)
    def ask(self, which: int, back: int, mishap: str) -> None:
        self.actor.ask(self.attempt(which), mishap, back)

    @rule(which=INDEX, value=st.integers(0, 9), mishap=MISHAP)
    @precondition(has_attempts)
    def choose(self, which: int, value: int, mishap: str) -> None:
        self.actor.choose(self.attempt(which), mishap, value)

    @rule(which=INDEX, phase=st.sampled_from(Phase), mishap=MISHAP)
    @precondition(has_attempts)
    def enter(self, which: int, phase: Phase, mishap: str) -> None:
        self.actor.enter(self.attempt(which), mishap, phase)

    @rule(which=INDEX, who=INDEX, mishap=MISHAP)
    @precondition(has_attempts)
    def intend(self, which: int, who: int, mishap: str) -> None:
        """By its owner, also a fenced one; sometimes by another worker."""
        attempt, model = self.attempt(which), self.actor.model
        owner = model.workers.get(attempt.worker or "")
        theirs = owner and (who % 4 or attempt.id in model.resources)
        self.actor.intend(attempt, owner if owner and theirs else self.worker(who), mishap)

    @rule(which=INDEX, number=st.integers(0, 1), mishap=MISHAP)
    @precondition(has_resources)
    def create(self, which: int, number: int, mishap: str) -> None:
        self.actor.create(self.resource(which), mishap, number)

    @rule(which=INDEX, mishap=MISHAP)
    @precondition(has_resources)
    def gone(self, which: int, mishap: str) -> None:
        self.actor.gone(self.resource(which), mishap)

    @rule(who=INDEX, mishap=MISHAP)
    def beat(self, who: int, mishap: str) -> None:
        self.actor.beat(self.worker(who), mishap)

    @rule(who=INDEX, mishap=MISHAP)
    @precondition(lambda machine: len(machine.alive()) == LIVING)
    def retire(self, who: int, mishap: str) -> None:
        self.actor.retire(self.worker(who), mishap)

    @rule(who=INDEX)
    @precondition(lambda machine: bool(machine.fenced_at_work()))
    def reap(self, who: int) -> None:
        fenced = self.fenced_at_work()
        self.actor.count("reap")
        self.actor.reap(fenced[who % len(fenced)])

    @rule(which=INDEX, ending=ENDING, mishap=MISHAP)
    @precondition(has_attempts)
    def end(self, which: int, ending: Ending, mishap: str) -> None:
        """By its owner; again, if it has ended."""
        attempt = self.attempt(which)
        if attempt.worker is not None:
            self.actor.end(attempt, self.actor.model.workers[attempt.worker], ending, mishap)

    @rule(which=INDEX, who=INDEX, ending=ENDING)
    @precondition(has_attempts)
    def end_for_another(self, which: int, who: int, ending: Ending) -> None:
        attempt = self.attempt(which)
        others = [each for each in self.actor.model.workers.values() if each.id != attempt.worker]
        self.actor.end(attempt, others[who % len(others)], ending, CALM)

    @rule(which=INDEX, mishap=MISHAP)
    @precondition(has_attempts)
    def tell(self, which: int, mishap: str) -> None:
        self.actor.tell(self.attempt(which), mishap)

    @rule(which=INDEX, mishap=MISHAP)
    @precondition(has_attempts)
    def cancel(self, which: int, mishap: str) -> None:
        self.actor.cancel(self.attempt(which), mishap)

    @rule(desired=st.sampled_from((Desired.PAUSE, Desired.STOP, Desired.CANCEL)), mishap=MISHAP, often=OFTEN)
    @precondition(lambda machine: machine.actor.model.desired == RUN)
    def want_no_more(self, desired: Desired, mishap: str, often: int) -> None:
        if often == 0:
            self.actor.want(desired, mishap)

    @rule(mishap=MISHAP)
    @precondition(lambda machine: machine.actor.model.desired != RUN)
    def want_to_run(self, mishap: str) -> None:
        self.actor.want(Desired.RUN, mishap)

    @rule(mishap=MISHAP, often=OFTEN)
    def give_up(self, mishap: str, often: int) -> None:
        if often == 0:
            self.actor.give_up(mishap)

    @rule(more=st.integers(-1, 4), mishap=MISHAP)
    def set_budget(self, more: int, mishap: str) -> None:
        """Around what is reserved already."""
        self.actor.set_budget(max(0, self.actor.model.reserved + more), mishap)

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "actor"):
            self.steps += 1
            self.actor.check()

    def teardown(self) -> None:
        kind = "whole" if self.steps >= self.whole else "short"
        self.stage.counts[f"{kind} runs"] += 1
        self.stage.counts[f"steps of {kind} runs"] += self.steps

    def alive(self) -> list[Worker]:
        return [each for each in self.actor.model.workers.values() if not each.retired]

    def living(self, who: int) -> Worker:
        return self.alive()[who % len(self.alive())]

    def fenced_at_work(self) -> list[Worker]:
        model = self.actor.model
        return [each for each in model.workers.values() if each.retired and any(model.running_of(each))]

    def worker(self, who: int) -> Worker:
        """Mostly a living one."""
        everybody, alive = list(self.actor.model.workers.values()), self.alive()
        chosen = alive if who % 4 and alive else everybody
        return chosen[who // 4 % len(chosen)]

    def attempt(self, which: int) -> Attempt:
        """Mostly one that runs, since most have ended."""
        attempts = self.actor.model.attempts
        running = [each for each in attempts if each.state == RUNNING]
        waiting = [each for each in attempts if each.state != ENDED]
        chosen = (running, running, waiting, attempts)[which % 4] or attempts
        return chosen[which // 4 % len(chosen)]

    def resource(self, which: int) -> Resource:
        """Mostly a new one."""
        resources = list(self.actor.model.resources.values())
        return resources[-1 - which % len(resources)]
