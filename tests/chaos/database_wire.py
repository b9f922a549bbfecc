"""What passes on a database's line: whole messages, the statements in them, and whether a transaction has ended.

Only as much of the protocols of PostgreSQL and of MySQL as is needed to find a COMMIT and its answer. No encryption.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

WRITING = ("INSERT", "UPDATE", "DELETE")
_NEGOTIATIONS = (80877102, 80877103, 80877104)  # cancel, SSL and GSS requests stand before PostgreSQL's start-up


class Message(NamedTuple):
    """One whole message of the client, and the statement that it runs, if any."""

    data: bytes
    statement: str | None


class Wire(Protocol):
    """One connection's client side, read message by message."""

    def messages(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now; the rest is kept for the next call."""

    def committed(self, answer: bytes) -> bool | None:
        """Whether the server says that it committed; None while its answer is not whole."""


class PostgresqlWire:
    """The version 3 protocol: simple queries, and those that are parsed first and run by name."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False
        self._named: dict[bytes, str] = {}

    def messages(self, data: bytes) -> Iterator[Message]:
        self._rest += data
        while (size := self._size()) is not None and len(self._rest) >= size:
            whole, self._rest = self._rest[:size], self._rest[size:]
            yield Message(whole, self._statement(whole))

    def _size(self) -> int | None:
        at = 1 if self._started else 0  # the very first messages have no letter
        if len(self._rest) < at + 4:
            return None
        return at + int(struct.unpack_from("!i", self._rest, at)[0])

    def _statement(self, whole: bytes) -> str | None:
        if not self._started:
            self._started = struct.unpack_from("!i", whole, 4)[0] not in _NEGOTIATIONS
            return None
        kind, body = whole[:1], whole[5:]
        if kind == b"Q":
            return body.rstrip(b"\0").decode()
        if kind == b"P":  # a name, then the statement
            name, text = body.split(b"\0")[:2]
            self._named[name] = text.decode()
        if kind == b"B":  # a portal, then the name
            return self._named.get(body.split(b"\0")[1])
        return None

    def committed(self, answer: bytes) -> bool | None:
        said = None
        while len(answer) >= 5:
            size = 1 + int(struct.unpack_from("!i", answer, 1)[0])
            if len(answer) < size:
                return None
            kind, body, answer = answer[:1], answer[5:size], answer[size:]
            if kind == b"C":
                said = body == b"COMMIT\0"
            if kind == b"E":
                said = False
            if kind == b"Z":
                return said
        return None


class MysqlWire:
    """Packets with a length of three bytes and a number; a text query is command 3."""

    def __init__(self) -> None:
        self._rest = b""

    def messages(self, data: bytes) -> Iterator[Message]:
        self._rest += data
        while len(self._rest) >= 4:
            size = 4 + int.from_bytes(self._rest[:3], "little")
            if len(self._rest) < size:
                return
            whole, self._rest = self._rest[:size], self._rest[size:]
            is_query = whole[3:5] == b"\0\x03"
            yield Message(whole, whole[5:].decode(errors="replace") if is_query else None)

    def committed(self, answer: bytes) -> bool | None:
        if len(answer) < 5 or len(answer) < 4 + int.from_bytes(answer[:3], "little"):
            return None
        return answer[4] == 0


WIRES: dict[str, type[PostgresqlWire | MysqlWire]] = {"postgresql": PostgresqlWire, "mysql": MysqlWire}


class Transaction:
    """The statements of one connection's open transaction that write."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def is_commit(self, statement: str) -> bool:
        """Whether this statement commits; take note of it otherwise."""
        words = statement.lstrip().upper()
        if words.startswith(("BEGIN", "ROLLBACK", "START TRANSACTION")):
            self.writes.clear()
        elif words.startswith(WRITING):
            self.writes.append(statement)
        return words.rstrip("; \n") == "COMMIT"
