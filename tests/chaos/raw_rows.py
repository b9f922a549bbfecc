"""Raw tables of any of the three kinds of database, read by their drivers alone, with no line of the product."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

Row = Mapping[str, Any]

TABLES = {
    "study": "tuner_study",
    "workers": "tuner_worker",
    "attempts": "tuner_attempt",
    "resources": "tuner_resource",
    "events": "tuner_event",
    "trials": "trials",
    "trial_values": "trial_values",
    "trial_params": "trial_params",
}


AGAIN = frozenset({"control", "rerun", "confirm"})  # kinds of attempts that take nothing of the budget


class Away(Exception):  # noqa: N818  it is weather, not an error
    """The database does not answer just now."""


class RawDatabase:
    """One connection, which is made again when it was lost. Every statement is a transaction of its own."""

    def __init__(self, url: str) -> None:
        self.url, self.kind = url, urlsplit(url).scheme.partition("+")[0]
        self._connection: Any = None

    def ask(self, query: str) -> list[Row]:
        """The rows of a query; none of a command. Raises Away."""
        try:
            if self._connection is None:
                self._connection = connect(self.url)
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(query)
                names = [column[0] for column in cursor.description or ()]
                if not names:
                    return []
                return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]
        except errors(self.kind) as error:
            self.close()
            raise Away(str(error)) from error

    def sample(self) -> dict[str, list[Row]]:
        """What must hold at every instant can be seen in these. Raises Away."""
        return {name: self.ask(f"SELECT * FROM {TABLES[name]}") for name in ("study", "attempts")}  # noqa: S608  ours

    def snapshot(self) -> dict[str, list[Row]]:
        """All that a judge needs. Raises Away."""
        return {name: self.ask(f"SELECT * FROM {table}") for name, table in TABLES.items()}  # noqa: S608  ours

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            with suppress(*errors(self.kind)):
                self._connection.close()
        self._connection = None


def connect(url: str, patience_s: float = 10.0) -> Any:
    """A connection of the driver's own, without transactions around statements."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=patience_s, isolation_level=None)
    seconds, place = int(patience_s), parts._replace(scheme="postgresql").geturl()
    if parts.scheme.startswith("postgresql"):
        import psycopg  # noqa: PLC0415  an extra

        limit = f"-c statement_timeout={seconds * 1000}"
        return psycopg.connect(place, autocommit=True, connect_timeout=seconds, options=limit)
    import pymysql  # noqa: PLC0415  an extra

    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        database=parts.path.strip("/"),
        autocommit=True,
        connect_timeout=seconds,
        read_timeout=seconds,
    )


def errors(kind: str) -> tuple[type[Exception], ...]:
    """What the driver raises when the database is away."""
    if kind == "sqlite":
        return (sqlite3.OperationalError, sqlite3.DatabaseError)
    if kind == "postgresql":
        import psycopg  # noqa: PLC0415  an extra

        return (psycopg.Error,)
    import pymysql  # noqa: PLC0415  an extra

    return (pymysql.Error, OSError)


def _plain(value: object) -> object:
    """The same for all kinds: times and decimals differ between drivers."""
    if isinstance(value, datetime):
        return str(value)
    return float(value) if isinstance(value, Decimal) else value


def chains(attempts: Sequence[Row]) -> int:
    """How many trials of the budget these attempts have taken.

    No retries are counted, nor what ends as a repeat, nor what was measured again on purpose.
    """
    searched = [attempt for attempt in attempts if attempt["kind"] not in AGAIN]
    return sum(1 for attempt in searched if attempt["retry_of"] is None) - sum(map(is_repeat, searched))


def is_repeat(attempt: Row) -> bool:
    """Whether it ended as the same server as another trial: it gave its trial of the budget back."""
    return json.loads(attempt["outcome"] or "{}").get("same_as") is not None
