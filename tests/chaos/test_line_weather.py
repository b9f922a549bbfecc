"""Lines to a database server that die in every way: a write waits, and is done once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from databases import DatabaseServer
from sqlalchemy import make_url
from weather import World, world
from weather_lines import PATIENCE_S, Meanwhile, check_claimed_once, claim, proxy_of, raw, still_waits

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.store import connections, postgresql

SERVERS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgresql", "mysql")]


@pytest.fixture(params=SERVERS)
def server_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A store behind a proxy."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    with world(server.new_database(), request.param) as made:
        yield made


def test_refused_connections_are_waited_out(server_world: World) -> None:
    proxy = proxy_of(server_world)
    proxy.mode("refuse")
    proxy.reset()
    with Meanwhile() as meanwhile:
        call = meanwhile.start(lambda: claim(server_world))
        assert still_waits(call)
        proxy.mode("pass")
        check_claimed_once(server_world, call)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time-outs, shorter: what a dead line costs is one of them."""
    short: dict[str, dict[str, object]] = {
        "postgresql": {"connect_timeout": 2, "tcp_user_timeout": 2000, "keepalives_idle": 1, "keepalives_interval": 1},
        "mysql": {"connect_timeout": 2, "read_timeout": 3, "write_timeout": 3},
    }
    for kind, changes in short.items():
        monkeypatch.setitem(connections._CONNECT_ARGS, kind, connections._CONNECT_ARGS[kind] | changes)
    monkeypatch.setattr(postgresql, "SILENCE_S", 3.0)


@pytest.mark.usefixtures("impatient")
def test_a_proxy_that_swallows_what_it_acknowledges_is_given_up_in_time(server_world: World) -> None:
    proxy = proxy_of(server_world)
    before = proxy.connections
    proxy.mode("stall")
    with Meanwhile() as meanwhile:
        call = meanwhile.start(lambda: claim(server_world))
        assert poll(lambda: proxy.connections > before or None, Deadline.after(PATIENCE_S))
        proxy.mode("pass")
        check_claimed_once(server_world, call)


@pytest.mark.usefixtures("impatient")
def test_a_line_that_goes_dead_before_a_write_is_given_up_in_time_and_the_write_done_once(server_world: World) -> None:
    proxy = proxy_of(server_world)
    proxy.mode("black-hole")
    with Meanwhile() as meanwhile:
        call = meanwhile.start(lambda: claim(server_world))
        before = proxy.connections
        assert still_waits(call)
        time.sleep(5)  # longer than the line may stay dead
        proxy.mode("pass")
        check_claimed_once(server_world, call)
        assert proxy.connections > before


@pytest.mark.usefixtures("impatient")
def test_a_line_that_goes_dead_while_the_server_thinks_is_given_up_in_time(server_world: World) -> None:
    """The query was acknowledged: no data is on its way that could time out. Only a look at the line tells."""
    proxy = proxy_of(server_world)
    with raw(server_world) as other, Meanwhile() as meanwhile:
        other.lock("tuner_study", server_world.study.id)
        call = meanwhile.start(lambda: claim(server_world))
        other.await_a_waiter()
        proxy.mode("black-hole")
        time.sleep(5)
        before = proxy.connections
        proxy.mode("pass")
        other.let_go()
        check_claimed_once(server_world, call)
        assert proxy.connections > before


def test_the_real_time_outs_end_a_dead_line_within_half_a_minute() -> None:
    line = connections._CONNECT_ARGS["postgresql"]
    idle, interval, count = (int(str(line[f"keepalives_{name}"])) for name in ("idle", "interval", "count"))
    assert idle + interval * count <= 30
    assert int(str(line["tcp_user_timeout"])) <= 30_000
    assert int(str(connections._CONNECT_ARGS["mysql"]["read_timeout"])) <= 30


def test_a_session_that_the_server_kills_is_made_again(server_world: World) -> None:
    kill = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}
    with raw(server_world) as other, raw(server_world) as killer, Meanwhile() as meanwhile:
        other.lock("tuner_study", server_world.study.id)
        call = meanwhile.start(lambda: claim(server_world))
        killer.run(kill[make_url(server_world.url).get_backend_name()].format(other.await_a_waiter()))
        assert still_waits(call)
        other.let_go()
        check_claimed_once(server_world, call)
