"""Databases for the campaign outside of pytest, and a raw look into them without a line of the product.

The servers are those of the tests: Debian's own binaries in a temporary folder, on loopback.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

sys.path.append(str(Path(__file__).parents[1]))  # where the tests' servers are

from databases import MariadbServer, PostgresqlServer
from raw_rows import connect

KINDS = ("sqlite", "postgresql", "mysql")
Server = PostgresqlServer | MariadbServer
_POSTGRESQL = "/usr/lib/postgresql"


@contextmanager
def server(kind: str) -> Iterator[Server]:
    """A server of its own, ended afterwards. Raises LookupError when it is not installed."""
    found = _postgresql() if kind == "postgresql" else _mariadb()
    try:
        yield found
    finally:
        found.close()


def _postgresql() -> PostgresqlServer:
    binaries = sorted(Path(_POSTGRESQL).glob("*/bin/initdb"))
    if not binaries:
        raise LookupError("PostgreSQL's server is not installed (Debian: postgresql)")
    return PostgresqlServer(binaries[-1].parent)


def _mariadb() -> MariadbServer:
    path = "/usr/bin:/usr/sbin"
    binary, installer = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    if not binary or not installer:
        raise LookupError("MariaDB's server is not installed (Debian: mariadb-server)")
    return MariadbServer(binary, installer)


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Iterator[str]]:
    """Ever new and empty databases of one kind, by URL."""
    if kind == "sqlite":
        yield (f"sqlite:///{folder}/{uuid4().hex}.db" for _ in iter(int, 1))
        return
    with server(kind) as running:
        yield (running.new_database() for _ in iter(int, 1))


def rows(url: str, query: str) -> Sequence[tuple[Any, ...]]:
    """What a query gives, on a connection of its own."""
    with closing(connect(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


_SHAPE = {
    "sqlite": "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2",
    "postgresql": """
        SELECT 'column', table_name || '.' || column_name, data_type || is_nullable || coalesce(column_default, '')
            FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT 'index', tablename || '.' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        ORDER BY 1, 2, 3""",
    "mysql": """
        SELECT 'column', concat(table_name, '.', column_name), concat(column_type, is_nullable)
            FROM information_schema.columns WHERE table_schema = database()
        UNION ALL SELECT 'index', concat(table_name, '.', index_name, '.', seq_in_index), column_name
            FROM information_schema.statistics WHERE table_schema = database()
        ORDER BY 1, 2, 3""",
}


def shape(url: str) -> Sequence[tuple[Any, ...]]:
    """All tables, columns, indexes and constraints."""
    return rows(url, _SHAPE[urlsplit(url).scheme.partition("+")[0]])
