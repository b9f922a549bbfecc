"""The fake server's HTTP: requests in, timed replies out. One request at a time on each connection."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from optuna_tuner.testing.fake_stream import LOGPROB, Behaviour, Pace
from optuna_tuner.wire.completions import (
    COMPLETIONS,
    END,
    SSE_HEAD,
    Api,
    Ask,
    Phrases,
    chunk,
    models,
    prompt_of,
    read_ask,
)
from optuna_tuner.wire.connection import Connection, error

OWNER = "fake"
PAGE = b"<html><body>It works</body></html>"


class Fake:
    """What all connections share."""

    def __init__(self, behaviour: Behaviour, loop: asyncio.AbstractEventLoop) -> None:
        self.behaviour = behaviour
        self.loop = loop
        self.pace = Pace(loop, behaviour.slots)
        self.model = "another-model" if "wrong_model" in behaviour.misbehave else behaviour.model
        self.phrases = Phrases(self.model, "fake-1")
        self.asked = 0
        self.ready = False

    def has(self, name: str) -> bool:
        """Whether it shall misbehave so."""
        return name in self.behaviour.misbehave

    def document(self, path: str) -> dict[str, object] | None:
        """What GET answers."""
        documents: dict[str, dict[str, object]] = {
            "/health": {"status": "ok"},
            "/v1/models": models(self.model, OWNER),
            "/props": {
                "model": self.model,
                "ttft_ms": self.behaviour.ttft_s * 1000,
                "itl_ms": self.behaviour.itl_s * 1000,
                "slots": self.behaviour.slots,
                "eos_after": self.behaviour.eos_after,
            },
            "/stats": {"requests": self.asked, **self.pace.stats()},
        }
        return documents.get(path)

    def metrics(self) -> str:
        """What GET /metrics answers: Prometheus's text."""
        told = {"running": self.pace.running, "waiting": self.pace.waiting, "tokens_total": self.pace.tokens}
        return "".join(f"fake:{name} {value}\n" for name, value in told.items())

    def keep(self, prompt: str) -> None:
        """Append the prompt to the record, if there is one."""
        if self.behaviour.record:
            with Path(self.behaviour.record).open("a", encoding="utf-8") as record:
                record.write(json.dumps(prompt) + "\n")

    def hangs(self) -> bool:
        """Whether the latest request is never answered."""
        return self.has("hang") or (self.has("hang_after") and self.asked > self.behaviour.misbehave["hang_after"])

    def count(self) -> int:
        """The number of a new completion request, from 1. Ends the process if that is due."""
        self.asked += 1
        if self.has("exit_after") and self.asked >= self.behaviour.misbehave["exit_after"]:
            raise SystemExit(1)
        if self.has("retract"):
            sys.stderr.write(f"fake: the KV cache is full, retracted: {self.behaviour.misbehave['retract']:g}\n")
        return self.asked


class FakeConnection(Connection):
    """One client's connection to the fake."""

    def __init__(self, fake: Fake) -> None:
        super().__init__()
        self._fake = fake
        self._reply: Reply | None = None
        self._slow = bytearray()

    def gone(self) -> None:
        """The client's reply ends and its slot is free."""
        if self._reply is not None:
            self._reply.end()

    def drained(self) -> bool:
        """Whether nothing trickles any more."""
        return not self._slow

    def answer(self, method: str, path: str, body: bytes) -> None:
        """Answer, or misbehave."""
        if not self._fake.ready:
            self.send(HTTPStatus.SERVICE_UNAVAILABLE, error("loading", OWNER))
        elif method == "POST" and path in COMPLETIONS:
            self._complete(COMPLETIONS[path], body)
        elif method == "GET" and path == "/metrics":
            self.send_bytes(HTTPStatus.OK, "text/plain; version=0.0.4", self._fake.metrics().encode())
        elif method == "GET" and (document := self._fake.document(path)) is not None:
            self.send(HTTPStatus.OK, document)
        else:
            self.send(HTTPStatus.NOT_FOUND, error(f"no such path: {method} {path}", OWNER))

    def _complete(self, api: Api, body: bytes) -> None:
        fake = self._fake
        number = fake.count()
        try:
            asked = json.loads(body)
            ask = _read(asked, api, fake.behaviour)
            fake.keep(prompt_of(asked, api))
        except (ValueError, TypeError, KeyError, AttributeError) as fault:
            self.send(HTTPStatus.BAD_REQUEST, error(f"bad request: {fault!r}", OWNER))
            return
        if fake.hangs():
            return
        if asked.get("logprobs") and fake.behaviour.logprobs == "refuse":
            self.send(HTTPStatus.BAD_REQUEST, error("logprobs are not supported", OWNER))
            return
        if asked.get("model") != fake.model:
            self.send(HTTPStatus.NOT_FOUND, error(f"The model `{asked.get('model')}` does not exist.", OWNER))
        elif fake.behaviour.strikes("http_500", number):
            self.send(HTTPStatus.INTERNAL_SERVER_ERROR, error("fake failure", OWNER))
        elif fake.has("html"):
            self.send_bytes(HTTPStatus.OK, "text/html", PAGE)
        else:
            self._reply = Reply(fake, self, ask, number)
            fake.pace.enter(self._reply.start)

    def write(self, data: bytes) -> None:
        """Send; byte by byte if it shall trickle."""
        if not self._fake.has("trickle"):
            self.transport.write(data)
            return
        if not self._slow:
            self._fake.loop.call_soon(self._trickle)
        self._slow += data

    def _trickle(self) -> None:
        if self._slow and not self.transport.is_closing():
            self.transport.write(self._slow[:1])
            del self._slow[:1]
            self._fake.loop.call_later(1.0, self._trickle)

    def finished(self) -> None:
        """The reply is no more."""
        self._reply = None
        super().finished()


class Reply:
    """One completion on its way."""

    def __init__(self, fake: Fake, connection: FakeConnection, ask: Ask, number: int) -> None:
        self._fake = fake
        self._connection = connection
        self._ask = ask
        self._number = number  # of the completion, from 1
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._entered = False
        self._usage = ask.with_usage and not fake.has("no_usage")

    def start(self) -> None:
        """A slot is ours: the clock runs."""
        self._entered = True
        behaviour = self._fake.behaviour
        self._due = self._fake.loop.time() + behaviour.ttft_s
        if not self._ask.stream:
            self._due += behaviour.itl_s * max(0, self._ask.tokens - 1)
        self._timer = self._fake.loop.call_at(self._due, self._stream if self._ask.stream else self._whole)

    def end(self) -> None:
        """Send nothing more and give the slot back."""
        if self._timer is not None:
            self._timer.cancel()
        self._fake.pace.leave(self.start, entered=self._entered)

    def _whole(self) -> None:
        usage = not self._fake.has("no_usage")
        self.end()
        wrong = _other_from(self._ask.tokens, self._number, self._fake.behaviour)
        whole = self._fake.phrases.whole(self._ask, self._logprob(), with_usage=usage, other_from=wrong)
        self._connection.send(HTTPStatus.OK, whole)

    def _logprob(self) -> float:
        """Of every token."""
        return LOGPROB - self._fake.behaviour.misbehave.get("unsure", 0.0)

    def _stream(self) -> None:
        ask, phrases = self._ask, self._fake.phrases
        data = SSE_HEAD if self._sent == 0 else b""
        if self._fake.has("empty_stream"):
            self._close(data + b"0\r\n\r\n")
        elif ask.tokens == 0:
            self._close(data + phrases.nothing(ask) + (phrases.usage(ask) if self._usage else b"") + END)
        else:
            self._token(data)

    def _token(self, data: bytes) -> None:
        ask, phrases, due = self._ask, self._fake.phrases, self._due
        data += phrases.token(self._sent, ask)
        self._sent += 1
        if self._sent == ask.tokens:
            self._close(data + (phrases.usage(ask) if self._usage else b"") + END)
        elif 2 * self._sent >= ask.tokens and self._spoiled(data):
            return
        else:
            self._connection.write(data)
            self._due += self._fake.behaviour.itl_s
            self._timer = self._fake.loop.call_at(self._due, self._stream)
        self._fake.pace.left(due)

    def _spoiled(self, data: bytes) -> bool:
        if self._fake.has("truncated_sse"):
            self._close(data + chunk(b'data: {"choices":[{"ind') + b"0\r\n\r\n")
        elif self._fake.behaviour.strikes("cut", self._number):
            self._connection.transport.abort()  # connection_lost then ends this reply
        else:
            return False
        return True

    def _close(self, data: bytes) -> None:
        self._connection.write(data)
        self.end()
        self._connection.finished()


def _read(asked: dict[str, object], api: Api, behaviour: Behaviour) -> Ask:
    ask = read_ask(asked, api, behaviour.eos_after)
    if "zero_tokens" in behaviour.misbehave:
        ask = replace(ask, tokens=0, finish="stop")
    return replace(ask, with_logprobs=ask.with_logprobs and behaviour.logprobs == "give")


def _other_from(tokens: int, number: int, behaviour: Behaviour) -> int:
    """From which token on a reply has other words than it should; its length where it has none."""
    if behaviour.strikes("waver", number):
        return 0
    return tokens - round(tokens * behaviour.misbehave.get("drift", 0.0))
