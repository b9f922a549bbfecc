"""What each request of a load level did, one line of JSON a request: the files `requests-*.jsonl` of a trial."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from optuna_tuner.values import Load

PATTERN = "requests-*.jsonl"
LONGEST_ERROR = 300  # characters

logger = logging.getLogger(__name__)


class RequestLine(BaseModel):
    """One request. What is not known is left out, never null or zero."""

    model_config = ConfigDict(frozen=True, title="A line of requests.jsonl")

    request_id: str = Field(description="Names the request: the trial's seed, the measurement, a number.")
    measurement: str = Field(
        default="",
        description="Which measurement of the trial it belongs to. A load that is measured twice has two of them.",
    )
    level: str = Field(default="", description="The load level, as it is called everywhere: D(64,32) concurrency=8.")
    scenario: str = Field(default="", description="Input and output tokens that were asked for.")
    service_type: str = Field(default="", description="The engine that answered: vllm, sglang, llama_cpp.")
    timestamp_start: float | None = Field(
        default=None,
        description="Seconds since 1970 (UTC): when the load wanted the request to start. In an open loop that is its "
        "scheduled arrival.",
    )
    timestamp_end: float | None = Field(
        default=None, description="Seconds since 1970 (UTC): the end of its stream, or its failure."
    )
    send_delay_s: float | None = Field(
        default=None, description="Seconds by which the client sent it later than that. It is part of all latencies."
    )
    latency_s: float | None = Field(
        default=None,
        description="Seconds from the start to the end, by the monotonic clock: finer than the timestamps' difference.",
    )
    success: bool = Field(description="Whether it completed: a whole stream with at least one token.")
    http_status: int | None = Field(default=None, description="The status of the answer, where there was one.")
    error: str | None = Field(default=None, description="Why it failed.")
    ttft_s: float | None = Field(default=None, description="Seconds from the start to the first token.")
    tpot_s: float | None = Field(
        default=None,
        description="Seconds a token after the first: (latency_s - ttft_s) / (output_tokens - 1). A reply of one token "
        "has none.",
    )
    input_tokens: int | None = Field(default=None, description="Tokens of the prompt, as the server counts them.")
    output_tokens: int | None = Field(default=None, description="Tokens of the reply, as the server counts them.")

    def encoded(self) -> bytes:
        """The line, with its end."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


def printable(text: str) -> str:
    """Any text of a server, cut, so that it can stand in JSON: half a surrogate pair cannot."""
    return text[:LONGEST_ERROR].encode("utf-8", "replace").decode()


def file_name(number: int, load: Load) -> str:
    """The name of one level's file."""
    return f"requests-{number}-{load.kind.value}-{load.value:g}.jsonl"


class RequestLog:
    """A level's file while it is written. Whole lines only, so that a kill leaves no half of one.

    No disk trouble gets out of it: a full disk must not keep a trial from its result. Then the file ends early, and
    `kept` is False. One thread may add while another one flushes.
    """

    def __init__(self, file: Path) -> None:
        """The folder is made at the first flush."""
        self.file = file
        self.kept = True
        self._waiting: deque[bytes] = deque()
        self._stream: BinaryIO | None = None

    def add(self, line: RequestLine) -> None:
        """Keep one more line for the next `flush`; touches no disk."""
        self._waiting.append(line.encoded())

    def flush(self) -> None:
        """Write what waits, at one stroke."""
        lines = b"".join(self._waiting.popleft() for _ in range(len(self._waiting)))
        if not self.kept or not lines:
            return
        try:
            stream = self._opened()
            stream.write(lines)
            stream.flush()
        except OSError as error:
            self.kept = False
            logger.warning("the requests in %s are not all kept: %s", self.file, error)

    def close(self) -> None:
        """Write the rest and let go of the file."""
        self.flush()
        with suppress(OSError):  # told already
            if self._stream is not None:
                self._stream.close()

    def _opened(self) -> BinaryIO:
        if self._stream is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.file.open("wb")
        return self._stream
