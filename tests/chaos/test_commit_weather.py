"""Every write of the store, with the line cut at its commit: one effect, and the right answer.

Cut before the commit, nothing has happened and it is done again; cut between the commit and its reply, it has happened
and nobody knows: it is done again and must see that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from databases import DatabaseServer
from weather import World, world

from optuna_tuner.store.records import AttemptState, Desired, Outcome, ResourceState, Verdict
from optuna_tuner.values import Cause, Handle, Params, Phase, Request

DONE = Outcome(verdict=Verdict.COMPLETE, values=(12.5,))
BROKEN = Outcome(verdict=Verdict.FAIL, cause=Cause.NODE_LOST)
PARAMS = Params(flags={"x": 1})
REQUEST = Request(deployer="local", name="tuner-1", body={"argv": ["true"]})
HANDLE = Handle(deployer="local", name="tuner-1", ref={"pid": 1})


def claim_a_new_one(world: World) -> None:
    with world.cut("UPDATE tuner_attempt"):
        attempt = world.store.attempts.claim(world.study.id, world.worker.id, baseline=True)
    assert attempt is not None
    assert attempt.state is AttemptState.RUNNING
    assert world.count("tuner_attempt") == world.events("claimed", attempt) == world.events("queued", attempt) == 1
    assert world.store.studies.by_id(world.study.id).reserved == 1


def claim_a_queued_one(world: World) -> None:
    first = world.claimed()
    world.store.attempts.end(first.id, world.worker.id, BROKEN, retry=True)
    with world.cut("UPDATE tuner_attempt"):
        attempt = world.store.attempts.claim(world.study.id, world.worker.id, baseline=True)
    assert attempt is not None
    assert (attempt.retry_of, attempt.tries) == (first.id, 2)
    assert world.count("tuner_attempt") == 2
    assert world.events("claimed", attempt) == 1
    assert world.store.studies.by_id(world.study.id).reserved == 1


def ask(world: World) -> None:
    attempt = world.claimed()
    with world.cut("UPDATE tuner_attempt"):
        assert world.store.attempts.asked(attempt.id, 7)
    assert world.store.attempts.get(attempt.id).number == 7


def choose(world: World) -> None:
    attempt = world.claimed()
    world.store.attempts.asked(attempt.id, 7)
    with world.cut("UPDATE tuner_attempt"):
        assert world.store.attempts.chosen(attempt.id, PARAMS)
    assert world.store.attempts.get(attempt.id).params == PARAMS
    assert world.events("asked", attempt) == 1


def enter(world: World) -> None:
    attempt = world.claimed()
    with world.cut("UPDATE tuner_attempt"):
        assert world.store.attempts.enter(attempt.id, Phase.WARM_UP)
    assert world.store.attempts.get(attempt.id).phase is Phase.WARM_UP
    assert world.events("phase", attempt) == 1


def intend(world: World) -> None:
    attempt = world.claimed()
    with world.cut("INSERT INTO tuner_resource"):
        assert world.store.ledger.intend(
            id=attempt.id, attempt_id=attempt.id, worker_id=world.worker.id, request=REQUEST
        )
    assert world.count("tuner_resource", "state = 'intent'") == world.events("intent", attempt) == 1


def create(world: World) -> None:
    attempt = world.claimed()
    world.store.ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=world.worker.id, request=REQUEST)
    with world.cut("UPDATE tuner_resource"):
        assert world.store.ledger.created(attempt.id, HANDLE)
    assert world.store.ledger.get(attempt.id).state is ResourceState.CREATED
    assert world.events("created", attempt) == 1


def go(world: World) -> None:
    attempt = world.claimed()
    world.store.ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=world.worker.id, request=REQUEST)
    with world.cut("UPDATE tuner_resource"):
        world.store.ledger.gone(attempt.id)
    assert world.store.ledger.get(attempt.id).state is ResourceState.GONE
    assert world.events("gone", attempt) == 1


def end_for_good(world: World) -> None:
    attempt = world.claimed()
    with world.cut("UPDATE tuner_attempt"):
        assert world.store.attempts.end(attempt.id, world.worker.id, DONE, retry=False)
    ended = world.store.attempts.get(attempt.id)
    assert (ended.state, ended.outcome) == (AttemptState.ENDED, DONE)
    assert world.events("ended", attempt) == world.count("tuner_attempt") == 1


def end_and_try_again(world: World) -> None:
    attempt = world.claimed()
    with world.cut("UPDATE tuner_attempt"):
        assert world.store.attempts.end(attempt.id, world.worker.id, BROKEN, retry=True)
    assert world.events("ended", attempt) == world.count("tuner_attempt", f"retry_of = '{attempt.id}'") == 1


def tell(world: World) -> None:
    attempt = world.claimed()
    world.store.attempts.asked(attempt.id, 0)
    world.store.attempts.end(attempt.id, world.worker.id, DONE, retry=False)
    with world.cut("UPDATE tuner_attempt"):
        world.store.attempts.told(attempt.id)
    assert world.store.attempts.untold(world.study.id) == ()
    assert world.events("told", attempt) == 1


def cancel_a_running_one(world: World) -> None:
    attempt = world.claimed()
    with world.cut("UPDATE tuner_attempt"):
        world.store.attempts.request_cancel(attempt.id)
    assert world.store.attempts.get(attempt.id).cancel
    assert world.events("cancel", attempt) == 1


def cancel_a_queued_one(world: World) -> None:
    first = world.claimed()
    world.store.attempts.end(first.id, world.worker.id, BROKEN, retry=True)
    waiting = next(each for each in world.store.attempts.of(world.study.id) if each.retry_of == first.id)
    with world.cut("UPDATE tuner_attempt"):
        world.store.attempts.request_cancel(waiting.id)
    assert world.store.attempts.get(waiting.id).state is AttemptState.ENDED
    assert world.events("ended", waiting) == 1


def register(world: World) -> None:
    with world.cut("INSERT INTO tuner_worker"):
        worker = world.register()
    assert world.count("tuner_worker", f"id = '{worker.id}'") == 1
    assert world.count("tuner_worker") == 2


def beat(world: World) -> None:
    with world.cut("UPDATE tuner_worker"):
        orders = world.store.workers.beat(world.worker.id, None)
    assert not orders.fenced
    # A beat says only that it moves: when the reply is lost, it is counted twice.
    assert world.store.workers.get(world.worker.id).beat == (1 if world.before else 2)


def retire(world: World) -> None:
    with world.cut("UPDATE tuner_worker"):
        world.store.workers.retire(world.worker.id)
    assert world.store.workers.get(world.worker.id).retired
    assert world.store.attempts.claim(world.study.id, world.worker.id, baseline=False) is None


def want(world: World) -> None:
    with world.cut("UPDATE tuner_study"):
        assert world.store.studies.want(world.study.id, Desired.PAUSE).desired is Desired.PAUSE
    assert world.count("tuner_study", "desired = 'pause'") == 1


def give_up(world: World) -> None:
    with world.cut("UPDATE tuner_study"):
        study = world.store.studies.give_up(world.study.id, "no GPU answers")
    assert (study.desired, study.ended_because) == (Desired.STOP, "no GPU answers")


def set_the_budget(world: World) -> None:
    with world.cut("UPDATE tuner_study"):
        assert world.store.studies.set_budget(world.study.id, 20).budget == 20


def add_a_study(world: World) -> None:
    with world.cut("INSERT INTO tuner_study"):
        study = world.store.studies.add(name=f"second {world.study.id}", spec_json="{}", space_hash="", budget=1)
    assert [each for each in world.store.studies.all() if each.name == study.name] == [study]


WRITES = (
    *(claim_a_new_one, claim_a_queued_one, ask, choose, enter, intend, create, go, end_for_good, end_and_try_again),
    *(tell, cancel_a_running_one, cancel_a_queued_one, register, beat, retire, want, give_up, set_the_budget),
    add_a_study,
)


SERVERS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgresql", "mysql")]


@pytest.fixture(scope="module", params=["sqlite", *SERVERS])
def shared_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One store of each kind, since making tables is slow."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('weather')}/studies.db"
    else:
        server: DatabaseServer = request.getfixturevalue(request.param)
        url = server.new_database()
    with world(url, request.param) as made:
        yield made


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_a_write_whose_commit_is_cut_is_done_once_and_answers_right(
    shared_world: World, write: Callable[[World], None], *, before: bool
) -> None:
    write(shared_world.afresh(before=before))
