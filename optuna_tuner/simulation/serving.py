"""The simulated server's HTTP: OpenAI's completions, and what the tuner asks the true engines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from optuna_tuner.simulation import engine_log
from optuna_tuner.simulation.batch import Request
from optuna_tuner.simulation.clockwork import Servers
from optuna_tuner.simulation.server import Refusal
from optuna_tuner.values import Scalar
from optuna_tuner.wire.completions import COMPLETIONS, END, SSE_HEAD, Api, Ask, Phrases, models, read_ask
from optuna_tuner.wire.connection import JSON, Connection, error

OWNER = "simulated"
LOGPROB = -0.5  # of every token, in nats
EOS_AFTER = 256  # tokens of a reply that may end by itself
METRICS: Mapping[str, Mapping[str, str]] = {  # the engines' own names
    "vllm": {
        "running": "num_requests_running",
        "waiting": "num_requests_waiting",
        "use": "kv_cache_usage_perc",
        "retracted": "num_preemptions_total",
        "tokens": "generation_tokens_total",
    },
    "sglang": {
        "running": "num_running_reqs",
        "waiting": "num_queue_reqs",
        "use": "token_usage",
        "retracted": "num_retracted_requests_total",
        "tokens": "generation_tokens_total",
    },
}


@dataclass(slots=True, kw_only=True)
class Serving:
    """What all connections share.

    Attributes:
        engine, version: which one it is like.
        model: its name for clients.
        length: the longest sequence, in tokens.
        told: what `/server_info` tells, SGLang's way.
        servers: the batches; for one that dies under its first request, how.

    """

    engine: str
    version: str
    model: str
    length: int
    told: Mapping[str, Scalar]
    servers: Servers | Refusal
    phrases: Phrases
    _retracted: int = 0

    def document(self, path: str) -> Mapping[str, object] | None:
        """What GET answers; None where there is nothing."""
        documents: dict[str, Mapping[str, object]] = {
            "/health": {},
            "/v1/models": models(self.model, OWNER),
            "/version": {"version": self.version},
            "/server_info": self.told,
            "/get_server_info": self.told,
        }
        owners = {"/version": "vllm", "/server_info": "sglang", "/get_server_info": "sglang"}
        return documents.get(path) if owners.get(path, self.engine) == self.engine else None

    def metrics(self) -> str:
        """What GET /metrics answers: the engine's counters by their names, and how late steps were."""
        servers = self.servers
        if isinstance(servers, Refusal):
            return ""
        told = {
            "running": servers.running,
            "waiting": servers.waiting,
            "use": servers.use,
            "retracted": servers.retracted,
            "tokens": servers.tokens,
        }
        counters = {METRICS[self.engine][name]: value for name, value in told.items()}
        lines = [f'{self.engine}:{name}{{model_name="{self.model}"}} {value}' for name, value in counters.items()]
        return "\n".join([*lines, f"simulated:step_late_seconds_max {servers.late_max_s:.6f}", ""])

    def tell_retracted(self, now: int) -> None:
        """SGLang logs at once that requests have lost their place; so many have until now."""
        if self.engine == "sglang" and now > self._retracted:
            engine_log.say(engine_log.retracted(now - self._retracted))
        self._retracted = now


class SimulatedConnection(Connection):
    """One client's connection."""

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self._serving = serving
        self._reply: Reply | None = None

    def answer(self, method: str, path: str, body: bytes) -> None:
        """Answer one request."""
        if method == "POST" and path in COMPLETIONS:
            self._complete(COMPLETIONS[path], body)
        elif method == "GET" and path == "/metrics":
            self.send_bytes(HTTPStatus.OK, "text/plain; version=0.0.4", self._serving.metrics().encode())
        elif method == "GET" and (document := self._serving.document(path)) is not None:
            self.send_bytes(HTTPStatus.OK, JSON, json.dumps(document).encode() if document else b"")
        else:
            self.send(HTTPStatus.NOT_FOUND, error(f"no such path: {method} {path}", OWNER))

    def gone(self) -> None:
        """The client has left: its place is free after this step."""
        if self._reply is not None:
            self._reply.forget()

    def finished(self) -> None:
        """The reply is no more."""
        self._reply = None
        super().finished()

    def _complete(self, api: Api, body: bytes) -> None:
        serving = self._serving
        try:
            asked = json.loads(body)
            ask = read_ask(asked, api, EOS_AFTER)
            name = asked.get("model")
        except (ValueError, TypeError, KeyError, AttributeError) as fault:
            self.send(HTTPStatus.BAD_REQUEST, error(f"bad request: {fault!r}", OWNER))
            return
        if name != serving.model:
            self.send(HTTPStatus.NOT_FOUND, error(f"The model `{name}` does not exist.", OWNER))
        elif ask.tokens < 1 or ask.prompt_tokens > serving.length - ask.tokens:
            wants = f"{ask.prompt_tokens} tokens in and {ask.tokens} out"
            message = f"This model's maximum context length is {serving.length} tokens; the request is of {wants}."
            self.send(HTTPStatus.BAD_REQUEST, error(message, OWNER))
        elif isinstance(serving.servers, Refusal):
            engine_log.fail(serving.engine, serving.servers, serving.length)
        else:
            self._reply = Reply(serving, serving.servers, self, ask)


class Reply:
    """One completion on its way."""

    def __init__(self, serving: Serving, servers: Servers, connection: SimulatedConnection, ask: Ask) -> None:
        self._serving, self._servers, self._connection, self._ask = serving, servers, connection, ask
        self._sent = 0
        self.forget = servers.add(Request(prompt=max(ask.prompt_tokens, 1), reply=ask.tokens, tell=self._tell))

    def _tell(self, count: int) -> None:
        ask, phrases, before = self._ask, self._serving.phrases, self._sent
        self._sent += count
        self._serving.tell_retracted(self._servers.retracted)
        done = self._sent == ask.tokens
        if ask.stream:
            data = (b"" if before else SSE_HEAD) + phrases.tokens(before, count, ask)
            last = (phrases.usage(ask) if ask.with_usage else b"") + END
            self._connection.write(data + last if done else data)
            if done:
                self._connection.finished()
        elif done:
            self._connection.send(HTTPStatus.OK, phrases.whole(ask, LOGPROB, with_usage=True))
