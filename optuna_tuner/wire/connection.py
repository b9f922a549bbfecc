"""One client's connection: HTTP/1.1, one request at a time."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

JSON = "application/json"


class Connection(asyncio.Protocol, ABC):
    """Reads requests and writes answers. Who answers calls `finished` when an answer is complete; `send` does."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._busy = False
        self._close_after = False

    @abstractmethod
    def answer(self, method: str, path: str, body: bytes) -> None:
        """Answer one request, now or later; `path` is without its query."""

    def gone(self) -> None:
        """The client has left: end what is under way."""

    def drained(self) -> bool:
        """Whether all that was written is on its way: only then is the connection closed."""
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect until a request is whole."""
        self._buffer += data
        if not self._busy:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Say so."""
        self.gone()

    def _next(self) -> None:
        head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = bytearray(rest[length:])
        self._close_after = headers.get("connection", "").lower() == "close"
        self._busy = True
        method, path, _ = lines[0].split(" ", 2)
        self.answer(method, path.partition("?")[0], rest[:length])

    def send(self, status: HTTPStatus, document: Mapping[str, object]) -> None:
        """One JSON document."""
        self.send_bytes(status, JSON, json.dumps(document).encode())

    def send_bytes(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        """One answer of any media type."""
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.write(line.encode() + body)
        self.finished()

    def write(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def finished(self) -> None:
        """The answer is complete; go on with what the client has sent meanwhile."""
        self._busy = False
        if self._close_after and self.drained():
            self.transport.close()
        elif self._buffer:
            self._next()


def error(message: str, kind: str) -> Mapping[str, object]:
    """An error as OpenAI's API writes it."""
    return {"error": {"message": message, "type": kind}}
