"""Optuna's history and our attempts agree, wherever an ask or a tell is cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import pytest
from history_player import DATABASES, FEW, GOOD, LOST, Player, check_agreement, empty_database, read, spec
from sqlalchemy import Engine, PoolProxiedConnection

from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind, AttemptState
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.study import create_or_resume


class Cut:
    """What happens at the n-th commit from now on, ours and Optuna's counted together."""

    def __init__(self, engines: list[Engine], happens: Callable[[Callable[[], None]], None]) -> None:
        self._happens, self.left = happens, 0
        for engine in engines:
            commit = engine.dialect.do_commit
            engine.dialect.do_commit = self._wrapped(commit)  # type: ignore[method-assign, assignment]

    def _wrapped(self, commit: Callable[[PoolProxiedConnection], None]) -> Callable[[PoolProxiedConnection], None]:
        def at_commit(connection: PoolProxiedConnection) -> None:
            self.left -= 1
            if self.left == 0:
                self._happens(lambda: commit(connection))
            else:
                commit(connection)

        return at_commit

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        self.left = number
        try:
            yield
        finally:
            self.left = min(self.left, 0)


def die_before(_commit: Callable[[], None]) -> None:
    raise DeathError


def die_behind(commit: Callable[[], None]) -> None:
    commit()
    raise DeathError


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    with Store.open(empty_database(request, tmp_path)) as opened:
        yield opened


class DeathError(BaseException):
    """The worker ends here, as by kill -9: nothing of it catches this."""


def engines(store: Store) -> list[Engine]:
    return [store._database.engine, store.optuna_storage().engine]


@pytest.mark.parametrize("death", [die_before, die_behind])
def test_a_worker_may_die_at_any_commit_of_an_ask_or_a_tell(
    store: Store, death: Callable[[Callable[[], None]], None]
) -> None:
    record = create_or_resume(store, spec(space=FEW))
    Player(store, record, spec(space=FEW)).play()  # the baseline
    cut, number, landed = Cut(engines(store), death), 0, True
    while landed:
        number += 1
        victim = Player(store, record, spec(space=FEW))
        with suppress(DeathError), cut.at(number):
            victim.play()
            landed = False
        victim.bury()
    assert number > 10, "claim, ask, link, parameters, choice, end, state, told"
    heir = Player(store, record, spec(space=FEW))
    while any(attempt.state is AttemptState.QUEUED for attempt in store.attempts.of(record.id)):
        heir.play()
    check_agreement(store, record)
    assert store.studies.by_id(record.id).reserved <= number + 1


def test_what_is_tried_first_is_tried_once_wherever_workers_die(store: Store) -> None:
    first = [{"a": 3}, {"FAST": True}, {"a": 1000, "FAST": False}]
    study = spec(space=FEW, first=first)
    record = create_or_resume(store, study)
    Player(store, record, study).play()  # the baseline
    cut = Cut(engines(store), die_behind)
    for number in range(1, 13):
        victim = Player(store, record, study)
        with suppress(DeathError), cut.at(number):
            victim.play()
        victim.bury()
    heir = Player(store, record, study)
    while store.attempts.of(record.id)[-1].kind is AttemptKind.FIRST:
        heir.play()
    check_agreement(store, record)
    opened = [
        each.params for each in store.attempts.of(record.id) if each.kind is AttemptKind.FIRST and not each.retry_of
    ]
    assert opened == list(study.first_params)


def test_a_worker_may_die_at_any_commit_when_it_asks_for_known_parameters(store: Store) -> None:
    record = create_or_resume(store, spec(space=FEW))
    Player(store, record, spec(space=FEW)).play()  # the baseline
    cut, number, landed = Cut(engines(store), die_behind), 0, True
    while landed:
        number += 1
        first, second = (Player(store, record, spec(space=FEW)) for _ in range(2))
        first.history.ask(first.claim())
        first.bury()
        with suppress(DeathError), cut.at(number):
            second.play()
            landed = False
        second.bury()
        Player(store, record, spec(space=FEW)).history.settle()
    assert number > 10
    while any(attempt.state is AttemptState.QUEUED for attempt in store.attempts.of(record.id)):
        Player(store, record, spec(space=FEW)).play()
    check_agreement(store, record)


def test_the_reply_to_any_commit_of_an_ask_or_a_tell_may_be_lost(store: Store) -> None:
    record = create_or_resume(store, spec(space=FEW))
    landed: list[int] = []

    def lose(commit: Callable[[], None]) -> None:
        commit()
        landed.append(1)
        raise driver_error(store)

    player = Player(store, record, spec(space=FEW))
    player.play()
    cut, number = Cut(engines(store), lose), 0
    while len(landed) == number:
        number += 1
        with cut.at(number):
            player.play()
    assert number > 10
    trials = optuna.load_study(study_name="cuts", storage=store.optuna_storage()).trials
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len(trials) == store.studies.by_id(record.id).reserved == number + 1
    check_agreement(store, record)


def driver_error(store: Store) -> Exception:
    if store._database.kind == "sqlite":
        import sqlite3  # noqa: PLC0415  one of two

        error = sqlite3.OperationalError("cut")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        return error
    import psycopg  # noqa: PLC0415  the other one

    return psycopg.OperationalError("cut")


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc", "grid", "nsga2"])
def test_a_repeated_configuration_is_exactly_the_same_whatever_chose_it(store: Store, kind: str) -> None:
    study_spec = spec(kind, budget=12) if kind != "grid" else small_grid()
    record = create_or_resume(store, study_spec)
    player = Player(store, record, study_spec)
    player.play()
    seen = []
    for _ in range(8):
        first = player.claim()
        _, params = player.history.ask(first)
        assert store.attempts.end(first.id, player.id, LOST, retry=True)
        player.history.tell()
        again = player.claim()
        trial, repeated = player.history.ask(again)
        assert (again.retry_of, again.kind, repeated) == (first.id, AttemptKind.SEARCH, params)
        assert trial.user_attrs["retry_of"] == store.attempts.get(first.id).number
        stored = optuna.load_study(study_name="cuts", storage=store.optuna_storage()).trials
        assert read(stored[-1].params) == read(stored[-2].params) == params
        assert stored[-1].distributions == stored[-2].distributions
        store.attempts.end(again.id, player.id, GOOD, retry=False)
        player.history.tell()
        seen.append(params.key)
    assert len(set(seen)) > 1, "the next one is the sampler's choice again"
    check_agreement(store, record)


def small_grid() -> StudySpec:
    return spec("grid", space={name: {"type": "switch", "env": name.isupper()} for name in ("a", "b", "FAST")})
