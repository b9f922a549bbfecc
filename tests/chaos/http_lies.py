"""Ways in which a server can lie to the built-in load client, whose report is its own: only the wire can lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from random import Random
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

Lie = Callable[[bytes, Random, int], bytes]  # of an honest body, and the request's number: the whole answer
FLOOD = 5 * 1024 * 1024  # bytes


def _answer(body: bytes, status: str = "200 OK", kind: str = "text/event-stream") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + body


def _usage(name: str, value: str) -> Lie:
    """The server counts so many tokens."""
    return lambda body, _random, _number: _answer(
        re.sub(rf'("{name}": ?)\d+'.encode(), rf"\g<1>{value}".encode(), body)
    )


def _event(data: bytes) -> Lie:
    """The first event is something else."""
    return lambda body, _random, _number: _answer(b"data: " + data + b"\n\n" + body)


def _no_tokens(body: bytes, _random: Random, _number: int) -> bytes:
    events = [event for event in body.split(b"\n\n") if b"usage" in event or b"[DONE]" in event]
    return _answer(re.sub(rb'("completion_tokens": ?)\d+', rb"\g<1>0", b"\n\n".join(events) + b"\n\n"))


def _half(body: bytes, _random: Random, number: int) -> bytes:
    return _answer(b'{"error": "boom"}', "500 Internal Server Error") if number % 2 else _answer(body)


def _cut(body: bytes, random: Random, _number: int) -> bytes:
    return _answer(body[: random.randrange(body.index(b"[DONE]"))])


LIES: Mapping[str, Lie] = {
    "all failed": lambda *_: _answer(b"{}", "500 Internal Server Error"),
    "half failed": _half,
    "all refused": lambda *_: _answer(b"{}", "429 Too Many Requests"),
    "no answer": lambda *_: b"",
    "no HTTP": lambda _body, random, _number: random.randbytes(200),
    "cut off": _cut,
    "empty": lambda *_: _answer(b""),
    "no stream": lambda body, *_: _answer(body, kind="application/json"),
    "no JSON": _event(b"\xff\xfe{"),
    "no object": _event(b"[1]"),
    "nested without end": _event(b"[" * 100_000),
    "an error in the stream": _event(b'{"error": {"message": "out of memory"}}'),
    "an event without end": lambda *_: _answer(b"data: " + b" " * FLOOD),
    "no tokens": _no_tokens,
    "no tokens counted": _usage("completion_tokens", "0"),
    "no prompt counted": _usage("prompt_tokens", "0"),
    "a negative count": _usage("completion_tokens", "-4"),
    "a huge count": _usage("completion_tokens", "1" + "0" * 400),
    "a count of five thousand digits": _usage("completion_tokens", "9" * 5000),
    "a count that is a text": _usage("completion_tokens", '"4"'),
    "a count that is a boolean": _usage("completion_tokens", "true"),
    "a count that is no number": _usage("completion_tokens", "NaN"),
    "a count that is infinite": _usage("prompt_tokens", "Infinity"),
    "half a token": _usage("completion_tokens", "3.5"),
    "more tokens than asked for": _usage("completion_tokens", "400"),
    "usage that is a list": _event(b'{"choices": [], "usage": [4]}'),
}


class Liar(ThreadingTCPServer):
    """Answers every request with what `answer` makes of its number."""

    daemon_threads, allow_reuse_address, request_queue_size = True, True, 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.numbers: Iterator[int] = count()
        self.answer: Callable[[int], bytes] = lambda _: b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(StreamRequestHandler):
    server: Liar

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        self.rfile.read(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))  # type: ignore[index]  # it always says
        try:
            self.wfile.write(self.server.answer(next(self.server.numbers)))
        except OSError:
            return  # the client has heard enough


@contextmanager
def liar() -> Iterator[Liar]:
    with Liar() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def lied(way: str, body: bytes, random: Random, number: int) -> bytes:
    """The answer in one way of lying; an honest one for a way that is none of these."""
    return LIES[way](body, random, number) if way in LIES else _answer(body)
