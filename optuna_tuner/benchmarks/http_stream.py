"""One streaming chat completion, with the time of each token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise
from typing import cast

import aiohttp

from optuna_tuner.benchmarks.prompts import Prompt
from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.clock import now
from optuna_tuner.values import Endpoint, Json

LONGEST_ERROR = 300
LONGEST_EVENT = 4 * 1024 * 1024  # bytes
MOST_TOKENS = 1e9  # of one request
CHAT = "/v1/chat/completions"


class StreamError(Exception):
    """The answer is no complete stream of tokens."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """One request as it happened, on the monotonic clock. `due` is when the load wanted it to start."""

    prompt: Prompt
    due: float
    sent: float = 0.0
    ended: float = 0.0
    tokens_at: list[float] = field(default_factory=list)
    usage: Mapping[str, Json] = field(default_factory=dict)
    status: int | None = None  # None: there was no answer
    error: str = ""

    def record(self, *, gaps: bool = True) -> RequestRecord:
        """Latencies count from `due`: a client or server that falls behind its load cannot hide it."""
        if self.error:
            return RequestRecord(error=self.error)
        return RequestRecord(
            ttft_s=self.tokens_at[0] - self.due,
            e2e_s=self.ended - self.due,
            input_tokens=self._count("prompt_tokens", self.prompt.input_tokens),
            output_tokens=self._count("completion_tokens", len(self.tokens_at)),
            gaps_s=tuple(b - a for a, b in pairwise(self.tokens_at)) if gaps else None,
        )

    def _count(self, name: str, otherwise: int) -> int:
        told = self.usage.get(name)
        return otherwise if told is None else cast("int", told)


def body(endpoint: Endpoint, prompt: Prompt, extra: Mapping[str, Json]) -> dict[str, Json]:
    """The request's body: exactly so many output tokens where the server knows `ignore_eos`, greedy, with usage."""
    return {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": prompt.text}],
        "max_tokens": prompt.output_tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        **extra,
    }


async def ask(session: aiohttp.ClientSession, sample: Sample, url: str, payload: Mapping[str, Json]) -> None:
    """Send the request and fill the sample in. Never raises for what the server does: that is `sample.error`."""
    sample.sent = now()
    try:
        async with session.post(url, json=payload) as response:
            sample.status = response.status
            if response.status != HTTPStatus.OK:
                said = await response.content.read(LONGEST_ERROR)
                raise StreamError(f"HTTP {response.status}: {said.decode(errors='replace')}")  # noqa: TRY301  one exit
            await _read(response, sample)
    except StreamError as error:
        sample.error = str(error)
    except TimeoutError:
        sample.error = "no end within the request's time limit"
    except aiohttp.ClientPayloadError:
        sample.error = "connection cut in mid-stream"
    except (aiohttp.ClientError, OSError) as error:
        sample.error = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
    sample.ended = now()


async def _read(response: aiohttp.ClientResponse, sample: Sample) -> None:
    if response.content_type != "text/event-stream":
        raise StreamError(f"the answer is {response.content_type}, no event stream")
    rest = b""
    async for data in response.content.iter_any():
        at = now()
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST_EVENT:
            raise StreamError(f"an event of more than {LONGEST_EVENT} bytes")
        if any(_last(line, sample, at) for line in lines):
            if not sample.tokens_at:
                raise StreamError("the stream held no token")
            return
    raise StreamError("the stream ended without [DONE]")


def _last(line: bytes, sample: Sample, at: float) -> bool:
    """Note what one line says; True for the one that ends the stream. OpenAI's events are single lines."""
    if not line.startswith(b"data:"):
        return False
    data = line[5:].strip()
    if data == b"[DONE]":
        return True
    _note(data, sample, at)
    return False


def _note(data: bytes, sample: Sample, at: float) -> None:
    try:
        said = json.loads(data)
        if said.get("error") is not None:
            raise StreamError(f"error in the stream: {said['error']}"[:LONGEST_ERROR])
        sample.usage = _usage(said.get("usage")) or sample.usage
        for choice in said.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"):
                sample.tokens_at.append(at)
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise StreamError(f"broken event: {data[:80]!r}") from error


def _usage(told: object) -> Mapping[str, Json]:
    """The server's count of tokens, checked: what it counts wrongly must not be taken for not counted."""
    usage = cast("Mapping[str, Json]", told or {})
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]  # raises when it is no object
    if not all(count is None or _is_count(count) for count in counts):
        raise StreamError("usage holds no counts of tokens")
    return usage


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
