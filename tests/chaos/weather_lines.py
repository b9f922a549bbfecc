"""Calls of a store while the weather changes, and a second client of the same server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, Self, TypeVar

from raw_rows import connect
from sqlalchemy import make_url
from tcp_proxy import TcpProxy
from weather import ProxyKnife, World

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.store.records import AttemptState

Result = TypeVar("Result")

PATIENCE_S = 60.0
SOON_S = 0.5  # long enough that a call which would not wait has failed


class Meanwhile:
    """A call in a thread, while the test makes weather."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def start(self, call: Callable[[], Result]) -> Future[Result]:
        return self._pool.submit(call)


def claim(world: World) -> Any:
    return world.store.attempts.claim(world.study.id, world.worker.id, baseline=False)


def check_claimed_once(world: World, call: Future[Any]) -> None:
    attempt = call.result(PATIENCE_S)
    assert attempt.state is AttemptState.RUNNING
    assert world.count("tuner_attempt") == world.events("claimed", attempt) == 1
    assert world.store.studies.by_id(world.study.id).reserved == 1


def still_waits(call: Future[Any]) -> bool:
    time.sleep(SOON_S)
    return not call.done()


def proxy_of(world: World) -> TcpProxy:
    assert isinstance(world.knife, ProxyKnife)
    return world.knife.proxy


class Raw:
    """A second client of the same server, with an open transaction of its own."""

    def __init__(self, url: str) -> None:
        self._kind = make_url(url).get_backend_name()
        self.connection = connect(url)
        self.run("BEGIN")

    def run(self, query: str) -> list[Any]:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall()) if cursor.description else []

    def lock(self, table: str, row: str) -> None:
        """Lock one row, as soon as nobody else has it."""
        self.run(f"SELECT * FROM {table} WHERE id = '{row}' FOR UPDATE")  # noqa: S608  our own id

    def let_go(self) -> None:
        """Of all locks."""
        self.run("ROLLBACK")

    def waiting(self) -> list[int]:
        """The sessions that wait for a lock."""
        queries = {
            "postgresql": "SELECT pid FROM pg_locks WHERE NOT granted",
            "mysql": "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
        }
        return [int(found[0]) for found in self.run(queries[self._kind])]

    def await_a_waiter(self) -> int:
        found = poll(lambda: self.waiting() or None, Deadline.after(PATIENCE_S))
        assert found
        return found[0]


@contextmanager
def raw(world: World) -> Iterator[Raw]:
    client = Raw(world.url)
    with closing(client.connection):
        yield client
