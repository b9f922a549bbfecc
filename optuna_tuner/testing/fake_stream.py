"""Timed replies of the fake server: each token leaves at an absolute time of the event loop's clock."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_TEXT = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend"
)
WORDS = tuple(_TEXT.split())
LOGPROB = -0.5  # of a token, in nats


class Api(StrEnum):
    """The two ways to ask; the value is the `object` of their events."""

    CHAT = "chat.completion.chunk"
    TEXT = "text_completion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one fake server shall act. Times in seconds; `misbehave` maps a name to its number."""

    model: str = "fake"
    host: str = "127.0.0.1"
    port: int = 0
    ttft_s: float = 0.05
    itl_s: float = 0.005
    start_s: float = 0.0
    slots: int = 0  # 0: no limit
    eos_after: int = 256
    logprobs: str = "give"  # or "ignore", or "refuse": what becomes of a request for them
    record: str = ""  # file to which each prompt is appended as one line of JSON
    misbehave: Mapping[str, float] = field(default_factory=dict)

    def strikes(self, name: str, count: int) -> bool:
        """Whether the count-th request (from 1) is one of the share that `name` spoils, spread evenly."""
        share = self.misbehave.get(name, 0.0)
        return int(count * share) > int((count - 1) * share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one completion request wants. `number` counts completions from 1.

    From the token `other_from` on, counted from 0, the reply has other words than it should.
    """

    number: int
    api: Api
    stream: bool
    tokens: int
    finish: str
    prompt_tokens: int
    with_usage: bool
    with_logprobs: bool
    other_from: int


class Pace:
    """Slots for requests, and how late tokens really left."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slots: int) -> None:
        self.loop = loop
        self._free = slots or None
        self._waiting: deque[Callable[[], None]] = deque()
        self.tokens = 0
        self.late_sum_s = 0.0
        self.late_max_s = 0.0
        self.late_over_1_ms = 0

    def enter(self, start: Callable[[], None]) -> None:
        """Call `start` as soon as a slot is free: at once, or when those before it have left."""
        if self._free is None:
            start()
        elif self._free > 0:
            self._free -= 1
            start()
        else:
            self._waiting.append(start)

    def leave(self, start: Callable[[], None], *, entered: bool) -> None:
        """Give the slot to the next in the queue, or forget one that never got a slot."""
        if self._free is None:
            return
        if not entered:
            self._waiting.remove(start)
        elif self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1

    def left(self, due: float) -> None:
        """Note that the token due at `due` was handed to the socket now."""
        late = self.loop.time() - due
        self.tokens += 1
        self.late_sum_s += late
        self.late_max_s = max(self.late_max_s, late)
        self.late_over_1_ms += late > 0.001  # noqa: PLR2004  the promise is one millisecond

    def stats(self) -> dict[str, float]:
        """How late tokens left, in milliseconds."""
        return {
            "tokens": self.tokens,
            "late_ms_mean": 1000 * self.late_sum_s / max(1, self.tokens),
            "late_ms_max": 1000 * self.late_max_s,
            "late_over_1_ms": self.late_over_1_ms,
        }


class Phrases:
    """The bytes of every event, made once: a token then costs one write."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._plain = {(api, k): self._token(k, api, "") for api in Api for k in range(len(WORDS))}
        self._first = self._event(Api.CHAT, {"role": "assistant", "content": WORDS[0] + " "}, "")

    def token(self, k: int, ask: Ask) -> bytes:
        """The k-th token of a reply, from 0."""
        finish = ask.finish if k == ask.tokens - 1 else ""
        if finish:
            return self._token(k % len(WORDS), ask.api, finish)
        return self._first if k == 0 and ask.api is Api.CHAT else self._plain[ask.api, k % len(WORDS)]

    def nothing(self, ask: Ask) -> bytes:
        """An event without a token that ends the reply."""
        return self._event(ask.api, {"content": ""}, "stop")

    def usage(self, ask: Ask) -> bytes:
        """The usage event."""
        return chunk(event({**self._frame(ask.api), "choices": [], "usage": self.count(ask)}))

    def whole(self, ask: Ask, logprob: float, *, with_usage: bool) -> dict[str, object]:
        """The reply as one document; each token has this log-probability, where they are asked for."""
        words = [WORDS[(k + (k >= ask.other_from)) % len(WORDS)] for k in range(ask.tokens)]
        text = " ".join(words)
        said: dict[str, object] = (
            {"message": {"role": "assistant", "content": text}} if ask.api is Api.CHAT else {"text": text}
        )
        if ask.api is Api.CHAT and ask.with_logprobs:
            said["logprobs"] = {"content": [{"token": f"{word} ", "logprob": logprob} for word in words]}
        choice = {"index": 0, **said, "finish_reason": ask.finish}
        frame = {**self._frame(ask.api), "choices": [choice]}
        return {**frame, "usage": self.count(ask)} if with_usage else frame

    @staticmethod
    def count(ask: Ask) -> dict[str, int]:
        """Tokens as OpenAI's `usage` says them; a prompt's tokens are its words."""
        total = ask.prompt_tokens + ask.tokens
        return {"prompt_tokens": ask.prompt_tokens, "completion_tokens": ask.tokens, "total_tokens": total}

    def _token(self, k: int, api: Api, finish: str) -> bytes:
        return self._event(api, {"content": WORDS[k] + " "}, finish)

    def _event(self, api: Api, delta: dict[str, str], finish: str) -> bytes:
        said: dict[str, object] = {"delta": delta} if api is Api.CHAT else {"text": delta["content"]}
        choice = {"index": 0, **said, "finish_reason": finish or None}
        return chunk(event({**self._frame(api), "choices": [choice]}))

    def _frame(self, api: Api) -> dict[str, object]:
        return {"id": "fake-1", "object": api.value, "created": 0, "model": self._model}


def event(body: dict[str, object]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP/1.1's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
