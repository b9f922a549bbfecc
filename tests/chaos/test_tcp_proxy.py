"""The harness's own proxy: each kind of weather is what its name says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pymysql
import pytest
from databases import DatabaseServer
from sqlalchemy import make_url
from tcp_proxy import TcpProxy

READ_S = 0.5


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says back what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=say_back, args=(caller,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def say_back(caller: socket.socket) -> None:
    with caller, suppress(ConnectionError):
        while data := caller.recv(1 << 16):
            caller.sendall(data)


# What PostgreSQL's clients send first, so that the proxy reads whole messages; then a query.
START = b"\0\0\0\x08\0\x03\0\0"
QUERY = b"Q\0\0\0\x0dSELECT 1\0"


def call(proxy: TcpProxy) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", proxy.port), READ_S)
    line.sendall(START)
    return line


def ask(line: socket.socket) -> bytes:
    line.sendall(QUERY)
    return line.recv(1 << 16)


def heard(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += line.recv(size)
    return data


def test_pieces_pass_unchanged_whatever_their_cut(echo: int) -> None:
    with TcpProxy(echo) as proxy, call(proxy) as line:
        assert heard(line, len(START)) == START
        for byte in QUERY:
            line.sendall(bytes([byte]))
        assert heard(line, len(QUERY)) == QUERY


def test_refuse_refuses_new_connections_on_the_same_port_and_pass_takes_them_again(echo: int) -> None:
    with TcpProxy(echo) as proxy, call(proxy) as line:
        heard(line, len(START))
        proxy.mode("refuse")
        with pytest.raises(ConnectionRefusedError):
            call(proxy)
        assert ask(line) == QUERY
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            ask(line)
        proxy.mode("pass")
        with call(proxy) as again:
            assert heard(again, len(START)) == START
        assert proxy.landed == {"refused": 1, "reset": 1}


def test_a_black_hole_neither_answers_nor_acknowledges_and_heals(echo: int) -> None:
    with TcpProxy(echo) as proxy, call(proxy) as line:
        heard(line, len(START))
        proxy.mode("black-hole")
        with pytest.raises(TimeoutError):
            call(proxy)
        with pytest.raises(TimeoutError):
            ask(line)
        assert unacknowledged(line) == 1
        proxy.mode("pass")
        line.settimeout(30)
        assert line.recv(1 << 16) == QUERY  # the kernel's own retransmission


def test_a_stall_acknowledges_and_never_answers(echo: int) -> None:
    with TcpProxy(echo) as proxy, call(proxy) as line:
        heard(line, len(START))
        proxy.mode("stall")
        with pytest.raises(TimeoutError):
            ask(line)
        assert unacknowledged(line) == 0
        proxy.mode("pass")
        line.settimeout(30)
        assert line.recv(1 << 16) == QUERY


def unacknowledged(line: socket.socket) -> int:
    """Segments that were sent and that the other side has not acknowledged: tcpi_unacked."""
    info = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[24:28], "little")


def test_delay_holds_every_piece_up(echo: int) -> None:
    with TcpProxy(echo) as proxy, call(proxy) as line:
        heard(line, len(START))
        proxy.delay_s = 0.1
        proxy.mode("delay")
        before = time.monotonic()
        assert ask(line) == QUERY
        assert time.monotonic() - before >= 0.2  # once there, once back


Connect = Callable[
    [int], "psycopg.Connection[tuple[object, ...]] | pymysql.connections.Connection[pymysql.cursors.Cursor]"
]


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgresql", "mysql")])
def server(request: pytest.FixtureRequest) -> tuple[str, int, Connect]:
    """A real database: its kind, its port, and how to connect to it through a port."""
    running: DatabaseServer = request.getfixturevalue(request.param)
    url = make_url(running.new_database())
    user, password, name = url.username or "", url.password or "", url.database or ""

    def connect(
        port: int,
    ) -> psycopg.Connection[tuple[object, ...]] | pymysql.connections.Connection[pymysql.cursors.Cursor]:
        if request.param == "mysql":
            return pymysql.connect(host="127.0.0.1", port=port, user=user, password=password, database=name)
        return psycopg.connect(host="127.0.0.1", port=port, user=user, password=password, dbname=name)

    with connect(url.port or 0) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE mark (number INTEGER)")
        connection.commit()
    return request.param, url.port or 0, connect


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_cut_commit_ends_the_line_and_only_the_late_cut_has_committed(
    server: tuple[str, int, Connect], *, before: bool
) -> None:
    kind, port, connect = server
    with TcpProxy(port, kind="mysql" if kind == "mysql" else "postgresql") as proxy:
        proxy.cut_next_commit(before=before, containing="INTO mark")
        connection = connect(proxy.port)
        cursor = connection.cursor()
        for _ in range(7):  # a reader's commits are left alone; psycopg prepares from the sixth on
            cursor.execute("SELECT count(*) FROM mark WHERE number > %s", (0,))
            connection.commit()
        cursor.execute("INSERT INTO mark VALUES (%s)", (1,))
        with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
            connection.commit()
        assert proxy.landed == {"cut-before" if before else "cut-after": 1}
        assert proxy.armed == 0
        with connect(proxy.port) as again, again.cursor() as reader:
            reader.execute("SELECT count(*) FROM mark")
            assert reader.fetchone() == (0 if before else 1,)
