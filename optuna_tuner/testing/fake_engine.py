"""The fake server as an engine, so that whole studies run in seconds and fail in every known way on request."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import ClassVar

import httpx
from pydantic import BaseModel, ConfigDict, Field

from optuna_tuner.contracts import Engine
from optuna_tuner.http import get
from optuna_tuner.prometheus import read
from optuna_tuner.testing.fake_server import NUMBERS
from optuna_tuner.values import Cause, Diagnosis, Endpoint, Launch, Metrics, Model, Params, Scalar, Slot

_SERVER = "optuna_tuner.testing.fake_server"
_ASK_S = 5.0
_METRICS = {
    "server_running_requests": ["fake:running"],
    "server_waiting_requests": ["fake:waiting"],
    "server_generated_tokens": ["fake:tokens_total"],
}
_SIGNS: tuple[tuple[re.Pattern[str], Cause], ...] = (
    (re.compile(r"fake: out of memory"), Cause.OUT_OF_MEMORY_POOL),
    (re.compile(r"error: (?:unrecognized arguments|argument )"), Cause.BAD_FLAG),
    (re.compile(r"fake: .* is busy"), Cause.DEVICE_BUSY),
    (re.compile(r"address already in use", re.IGNORECASE), Cause.PORT_IN_USE),
)


class FakeOptions(BaseModel):
    """Options of `engine: {kind: fake}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flags: Mapping[str, Scalar] = Field(
        default_factory=dict,
        description="Fixed flags of the fake server: ttft_ms, itl_ms, slots, start_s, eos_after, logprobs, misbehave.",
        examples=[{"ttft_ms": 20, "misbehave": "http_500=0.1"}],
    )
    env: Mapping[str, str] = Field(default_factory=dict, description="Environment variables of the server.")
    image: str | None = Field(default=None, description="Container image, for deployers that use one.")
    command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Another program than the fake server, which takes the same flags: --host, --port, --model and "
        "those of the study.",
        examples=[["python3", "my_server.py"]],
    )


class FakeEngine(Engine):
    """A deterministic fake that serves no model: times are exact, and every failure is on request.

    `misbehave` may name several kinds, divided by commas; empty or "none" is none. Other flags go to the fake server
    as they are, so that it refuses those that it does not know.
    """

    kind: ClassVar[str] = "fake"
    summary: ClassVar[str] = "no inference at all: a fake server with exact times, for tests and first steps"
    Options: ClassVar[type[BaseModel]] = FakeOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = FakeOptions.model_validate(options.model_dump())

    def canonical(self, flag: str) -> str:
        """Underscores, no leading dashes."""
        return flag.strip().lstrip("-").replace("-", "_")

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """The fake server in this Python environment."""
        address = ("--host", "{host}", "--port", "{port}", "--model", model.name)
        flags = tuple(
            argument for name, value in sorted(self._flags(params).items()) for argument in _argument(name, value)
        )
        return Launch(
            argv=(*(self._options.command or (sys.executable, "-m", _SERVER)), *address, *flags),
            env={**self._options.env, **params.env},
            gpus=len(slot.gpus),
            image=self._options.image,
            model=model,
        )

    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:  # noqa: ARG002  the flags are enough
        """Times and numbers below zero."""
        low = [
            name for name, value in self._flags(params).items() if isinstance(value, int | float) and float(value) < 0
        ]
        return f"{min(low)} is below zero" if low else None

    def identity(self, model: Model, params: Params, slot: Slot) -> Mapping[str, Scalar]:  # noqa: ARG002  the flags tell
        """The flags that differ from the fake server's defaults; all of them where another program takes them."""
        own = self._options.command is None
        read = {name: _read(name, value) for name, value in self._flags(params).items()}
        left = {name: value for name, value in read.items() if not (own and _is_default(name, value))}
        return {**left, **{f"${name}": value for name, value in {**self._options.env, **params.env}.items()}}

    def settled(self, resolved: Mapping[str, Scalar]) -> frozenset[str]:
        """The times and numbers that the fake server itself tells."""
        return frozenset(NUMBERS) & resolved.keys() if self._options.command is None else frozenset()

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """By the fake's own messages."""
        for pattern, cause in _SIGNS:
            found = next((line for line in log.splitlines() if pattern.search(line)), None)
            if found is not None:
                return Diagnosis(cause=cause, evidence=found)
        last = log.strip().splitlines()[-1:] or [f"ended with exit code {exit_code} without a word"]
        return Diagnosis(cause=Cause.CRASHED, evidence=last[0].strip())

    def retractions(self, endpoint: Endpoint, log: str) -> int | None:  # noqa: ARG002  the log tells
        """By the fake's own message."""
        return sum(map(int, re.findall(r"fake: the KV cache is full, retracted: (\d+)", log)))

    def told(self, page: str) -> Metrics:
        """By the fake's own names."""
        return read(page, _METRICS)

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:  # noqa: ARG002  it tells all
        """From `/props`."""
        found = _get(endpoint, "/props")
        plain = {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}
        return {name: value for name, value in sorted(plain.items()) if name != "model"}

    def identify(self, endpoint: Endpoint) -> str | None:
        """The model that `/v1/models` lists."""
        models = _get(endpoint, "/v1/models").get("data")
        first = models[0] if isinstance(models, list) and models else None
        return str(first["id"]) if isinstance(first, dict) and "id" in first else None

    def _flags(self, params: Params) -> Mapping[str, Scalar]:
        both = [*self._options.flags.items(), *params.flags.items()]
        return {self.canonical(name): value for name, value in both}


def _read(name: str, value: Scalar) -> Scalar:
    """As the fake server's parser takes it: 6 and 6.0 are one time."""
    is_time = name in NUMBERS and isinstance(NUMBERS[name][0], float)
    return float(value) if is_time and isinstance(value, int | float) else value


def _is_default(name: str, value: Scalar) -> bool:
    if name == "misbehave":
        return value in {"", "none"}
    return name in NUMBERS and value == NUMBERS[name][0]


def _argument(name: str, value: Scalar) -> tuple[str, ...]:
    option = f"--{name.replace('_', '-')}"
    if name != "misbehave":
        return (option, str(value))
    kinds = [kind.strip() for kind in str(value).split(",")]
    return tuple(word for kind in kinds if kind and kind != "none" for word in (option, kind))


def _get(endpoint: Endpoint, path: str) -> Mapping[str, object]:
    try:
        response = get(f"{endpoint.url}{path}", _ASK_S)
        response.raise_for_status()
        found = response.json()
    except (httpx.HTTPError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
