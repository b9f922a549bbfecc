"""A TCP proxy on loopback between a client and a database, which makes bad weather on request.

It runs in a thread of the harness and imports nothing of the product:

    with TcpProxy(port_of_the_database) as proxy:
        connect_to("127.0.0.1", proxy.port)
        proxy.cut_next_commit()              # the next commit of a transaction that wrote: done, and its reply lost
        proxy.mode("refuse"); proxy.reset()  # an outage; `proxy.mode("pass")` ends it
        proxy.landed                         # how often each fault came about

A black hole is real: the kernel drops what comes in without an acknowledgement, as when a cable is pulled.
"""

from __future__ import annotations

import asyncio
import ctypes
import secrets
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Literal, Self, TypeVar

from database_wire import WIRES, Transaction

Mode = Literal["pass", "refuse", "black-hole", "stall", "delay"]
Result = TypeVar("Result")

HOST = "127.0.0.1"
_CHUNK = 1 << 16
_ATTACH_FILTER, _DETACH_FILTER = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER; the socket module does not name them
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # a BPF program of one step: return 0


@dataclass(frozen=True, slots=True)
class Cut:
    """A commit to cut: before or after the server has seen it, of a transaction that wrote this text."""

    before: bool
    containing: str

    def fits(self, writes: list[str]) -> bool:
        return any(self.containing in statement for statement in writes)


class TcpProxy:
    """Listens on `port` and passes everything on to the target, unless it is told otherwise.

    `landed` counts: "cut-before", "cut-after" (committed, and the reply dropped), "cut-not-committed" (the server
    refused the commit itself), "reset" (connections), "refused" and "black-hole" (times switched on).
    """

    def __init__(self, target_port: int, *, kind: Literal["postgresql", "mysql"] = "postgresql") -> None:
        self.landed: Counter[str] = Counter()
        self.delay_s = 0.05
        self.wire = WIRES[kind]
        self.target_port = target_port
        self.cuts: list[Cut] = []
        self.now: Mode = "pass"
        self.sessions: set[_Session] = set()
        self.connections = 0  # that ever were
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self.port = _quiet_port()
        self._call(self._listen)

    def mode(self, mode: Mode) -> None:
        """Switch the weather; it holds when this returns.

        "refuse": nobody listens (connections that exist live on: see `reset`). "black-hole": nothing passes or is
        acknowledged, old and new connections alike. "stall": everything is acknowledged and nothing passes. "delay":
        each piece waits `delay_s`.
        """
        self._call(lambda: self._switch(mode))

    def reset(self) -> int:
        """Reset every connection at once; how many there were."""
        return self._call(self._reset)

    def cut_next_commit(self, *, before: bool = False, containing: str = "") -> None:
        """Cut the next commit of a transaction that wrote something `containing` this text.

        `before`: the COMMIT does not reach the server. Otherwise the server answers it, and the answer is dropped.
        """
        self._call(lambda: self._arm(Cut(before, containing)))

    @property
    def armed(self) -> int:
        """How many cuts still wait for their commit."""
        return len(self.cuts)

    def close(self) -> None:
        """Reset everything and stop."""
        if self._loop.is_running():
            self._call(self._end)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _call(self, work: Callable[[], Coroutine[None, None, Result]]) -> Result:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port, backlog=512)

    async def _switch(self, mode: Mode) -> None:
        was, self.now = self.now, mode
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "refuse" and self._server is None:
            await self._listen()
        if mode in {"refuse", "black-hole"} and mode != was:
            self.landed["refused" if mode == "refuse" else mode] += 1
        for ear in (*(self._server.sockets if self._server else ()), *(each.ear for each in self.sessions)):
            if ear.fileno() >= 0:  # a session that just ended has none
                _drop_all(ear, on=mode == "black-hole")
        for session in self.sessions:
            session.weather(mode)

    async def _reset(self) -> int:
        count = len(self.sessions)
        for session in tuple(self.sessions):
            session.hang_up()
        self.landed["reset"] += count
        return count

    async def _arm(self, cut: Cut) -> None:
        self.cuts.append(cut)

    async def _end(self) -> None:
        await self._reset()
        if self._server is not None:
            self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        session = _Session(self, writer)
        self.sessions.add(session)
        self.connections += 1
        try:
            await session.run(reader)
        except (OSError, asyncio.CancelledError):  # cancelled at the end only; asyncio would log it as an error
            session.hang_up()
        finally:
            self.sessions.discard(session)


class _Session:
    """One client's connection and its own to the target."""

    def __init__(self, proxy: TcpProxy, client: StreamWriter) -> None:
        self._proxy, self._client = proxy, client
        self._server: StreamWriter | None = None
        self._wire, self._transaction = proxy.wire(), Transaction()
        self._open = asyncio.Event()
        self._answer: bytes | None = None  # of a commit whose reply is to be lost
        self.weather(proxy.now)
        _drop_all(self.ear, on=proxy.now == "black-hole")

    @property
    def ear(self) -> socket.socket:
        """Where the client is heard."""
        found: socket.socket = self._client.get_extra_info("socket")
        return found

    def weather(self, mode: Mode) -> None:
        """Let pieces pass or wait."""
        if mode in {"black-hole", "stall"}:
            self._open.clear()
        else:
            self._open.set()

    def hang_up(self) -> None:
        """Reset both sides."""
        for writer in filter(None, (self._client, self._server)):
            if not writer.transport.is_closing():
                linger = struct.pack("ii", 1, 0)  # zero seconds: a reset instead of a polite end
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async def run(self, client: StreamReader) -> None:
        """Pass everything on until one side has ended."""
        await self._open.wait()
        server, self._server = await asyncio.open_connection(HOST, self._proxy.target_port)
        ways = [asyncio.create_task(self._questions(client)), asyncio.create_task(self._answers(server))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._client.close()
            self._server.close()

    async def _questions(self, client: StreamReader) -> None:
        while data := await client.read(_CHUNK):
            await self._pause()
            for message in self._wire.messages(data):
                if message.statement is not None and self._transaction.is_commit(message.statement):
                    cut = self._cut()
                    if cut is not None and cut.before:
                        self._proxy.landed["cut-before"] += 1
                        self.hang_up()
                        return
                    self._answer = None if cut is None else b""
                self._writer().write(message.data)
            await self._writer().drain()

    def _cut(self) -> Cut | None:
        """The cut that was meant for this commit, if any."""
        writes, cuts = self._transaction.writes, self._proxy.cuts
        found = next((cut for cut in cuts if cut.fits(writes)), None)
        if found is not None:
            cuts.remove(found)
        self._transaction.writes = []
        return found

    async def _answers(self, server: StreamReader) -> None:
        while data := await server.read(_CHUNK):
            await self._pause()
            if self._answer is None:
                self._client.write(data)
                await self._client.drain()
                continue
            self._answer += data
            committed = self._wire.committed(self._answer)
            if committed is not None:
                self._proxy.landed["cut-after" if committed else "cut-not-committed"] += 1
                self.hang_up()
                return

    async def _pause(self) -> None:
        await self._open.wait()
        if self._proxy.now == "delay":
            await asyncio.sleep(self._proxy.delay_s)

    def _writer(self) -> StreamWriter:
        assert self._server is not None  # made before anything is read
        return self._server


def _quiet_port() -> int:
    """A free port that the kernel gives to nobody by itself: ours must not be taken while nobody listens on it."""
    for _ in range(100):
        port = 30000 + secrets.randbelow(2700)  # below: servers of trials; above 32767: the kernel's own
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise OSError("no free port below 32768")


def _drop_all(ear: socket.socket, *, on: bool) -> None:
    """Let the kernel drop every packet for this socket, before it is acknowledged; or no longer."""
    if on:
        program = struct.pack("HL", 1, ctypes.addressof(_DROP_ALL))  # struct sock_fprog
        ear.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    else:
        with suppress(FileNotFoundError):  # there was none
            ear.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
