"""OpenAI's completions: what is asked, and the bytes of the answer. A prompt's tokens are its words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

_TEXT = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend"
)
WORDS = tuple(_TEXT.split())


class Api(StrEnum):
    """The two ways to ask; the value is the `object` of their events."""

    CHAT = "chat.completion.chunk"
    TEXT = "text_completion"


COMPLETIONS = {"/v1/chat/completions": Api.CHAT, "/v1/completions": Api.TEXT}
DEFAULT_TOKENS = {Api.CHAT: 128, Api.TEXT: 16}  # where the request says no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one completion request wants. `tokens`: so many will be given."""

    api: Api
    stream: bool
    tokens: int
    finish: str
    prompt_tokens: int
    with_usage: bool
    with_logprobs: bool


def read_ask(asked: Mapping[str, object], api: Api, eos_after: int) -> Ask:
    """The request. Without `ignore_eos` a reply ends after `eos_after` tokens.

    Raises ValueError, TypeError, KeyError or AttributeError for what is no request.
    """
    options = cast("dict[str, object]", asked.get("stream_options") or {})
    limit = int(cast("int", asked.get("max_completion_tokens") or asked.get("max_tokens") or DEFAULT_TOKENS[api]))
    tokens = limit if asked.get("ignore_eos") else min(limit, eos_after)
    return Ask(
        api=api,
        stream=bool(asked.get("stream")),
        tokens=tokens,
        finish="length" if tokens == limit else "stop",
        prompt_tokens=len(prompt_of(asked, api).split()),
        with_usage=bool(options.get("include_usage")),
        with_logprobs=bool(asked.get("logprobs")),
    )


def prompt_of(asked: Mapping[str, object], api: Api) -> str:
    """All that the request says to the model. Raises as `read_ask` does."""
    if api is Api.TEXT:
        return str(asked["prompt"])
    said = [cast("dict[str, object]", message)["content"] for message in cast("list[object]", asked["messages"])]
    return " ".join(_text(content) for content in said)


def _text(content: object) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    return " ".join(str(part.get("text", "")) for part in parts)


class Phrases:
    """The bytes of every event, made once: a token then costs one write."""

    def __init__(self, model: str, id: str) -> None:  # noqa: A002  OpenAI's word for it
        self._model, self._id = model, id
        self._plain = {(api, k): self._event(api, _word(k), "") for api in Api for k in range(len(WORDS))}
        self._first = self._event(Api.CHAT, _word(0), "", role="assistant")

    def token(self, k: int, ask: Ask) -> bytes:
        """The k-th token of a reply, from 0."""
        if k == ask.tokens - 1:
            return self._event(ask.api, _word(k), ask.finish)
        return self._first if k == 0 and ask.api is Api.CHAT else self._plain[ask.api, k % len(WORDS)]

    def tokens(self, k: int, count: int, ask: Ask) -> bytes:
        """`count` tokens from the k-th on, in one event."""
        if count == 1:
            return self.token(k, ask)
        words = "".join(map(_word, range(k, k + count)))
        return self._event(ask.api, words, ask.finish if k + count == ask.tokens else "")

    def nothing(self, ask: Ask) -> bytes:
        """An event without a token that ends the reply."""
        return self._event(ask.api, "", "stop")

    def usage(self, ask: Ask) -> bytes:
        """The usage event."""
        return chunk(event({**self._frame(ask.api), "choices": [], "usage": count(ask)}))

    def whole(self, ask: Ask, logprob: float, *, with_usage: bool, other_from: int | None = None) -> dict[str, object]:
        """The reply as one document; each token has this log-probability, where they are asked for.

        From the token `other_from` on, counted from 0, it has other words than it should.
        """
        wrong = ask.tokens if other_from is None else other_from
        words = [WORDS[(k + (k >= wrong)) % len(WORDS)] for k in range(ask.tokens)]
        text = " ".join(words)
        said: dict[str, object] = (
            {"message": {"role": "assistant", "content": text}} if ask.api is Api.CHAT else {"text": text}
        )
        if ask.api is Api.CHAT and ask.with_logprobs:
            said["logprobs"] = {"content": [{"token": f"{word} ", "logprob": logprob} for word in words]}
        choice = {"index": 0, **said, "finish_reason": ask.finish}
        frame = {**self._frame(ask.api), "choices": [choice]}
        return {**frame, "usage": count(ask)} if with_usage else frame

    def _event(self, api: Api, text: str, finish: str, role: str = "") -> bytes:
        delta = {"role": role, "content": text} if role else {"content": text}
        said: dict[str, object] = {"delta": delta} if api is Api.CHAT else {"text": text}
        choice = {"index": 0, **said, "finish_reason": finish or None}
        return chunk(event({**self._frame(api), "choices": [choice]}))

    def _frame(self, api: Api) -> dict[str, object]:
        return {"id": self._id, "object": api.value, "created": 0, "model": self._model}


def _word(k: int) -> str:
    return WORDS[k % len(WORDS)] + " "


def count(ask: Ask) -> dict[str, int]:
    """Tokens as OpenAI's `usage` says them."""
    total = ask.prompt_tokens + ask.tokens
    return {"prompt_tokens": ask.prompt_tokens, "completion_tokens": ask.tokens, "total_tokens": total}


def models(name: str, owner: str) -> dict[str, object]:
    """What GET /v1/models answers."""
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner}]}


def event(body: Mapping[str, object]) -> bytes:
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
