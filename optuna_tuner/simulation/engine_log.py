"""What the engines print, as far as the tuner reads it: the lines by which it knows a failure, and the resolved flags.

Where a line and an exit code are from stands in `optuna_tuner/engines/causes`; what real servers printed, in
`tests/material/engines`. vLLM ends with code 1. SGLang does so where it refuses its flags; where one of its processes
fails, the others are killed with it. All else that they print is left out.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import NoReturn

from optuna_tuner.memory.gpus import GIB
from optuna_tuner.simulation.server import Refusal, Server
from optuna_tuner.values import Cause, Scalar

VLLM_WRAPPER = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}"
SGLANG_END = "Received sigquit from a child process. It usually means the child failed."
NO_POOL = (
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
    "the engine."
)
SMALL_POOL = (
    "ValueError: To serve at least one request with the models's max seq len ({length}), ({needed:.2f} GiB KV cache is "
    "needed, which is larger than the available KV cache memory ({room:.2f} GiB). Based on the available memory, the "
    "estimated maximum model length is {tokens}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` "
    "when initializing the engine."
)
FAILURES: Mapping[str, Mapping[Cause, tuple[str, ...]]] = {
    "vllm": {
        Cause.BAD_COMBINATION: (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig",
            "  Value error, {why} [type=value_error]",
        ),
        Cause.OUT_OF_MEMORY_POOL: (SMALL_POOL, VLLM_WRAPPER),
        Cause.OUT_OF_MEMORY_HEADROOM: (
            '  File "vllm/v1/worker/gpu_model_runner.py", in _dummy_run',
            "torch.OutOfMemoryError: CUDA out of memory.",
            VLLM_WRAPPER,
        ),
        Cause.OUT_OF_MEMORY_RUNTIME: (
            "torch.OutOfMemoryError: CUDA out of memory.",
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
        ),
    },
    "sglang": {
        Cause.BAD_COMBINATION: ("ValueError: {why}",),
        Cause.OUT_OF_MEMORY_POOL: (
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
            SGLANG_END,
        ),
        Cause.OUT_OF_MEMORY_HEADROOM: ("Exception: Capture cuda graph failed: CUDA out of memory.", SGLANG_END),
        Cause.OUT_OF_MEMORY_RUNTIME: ("torch.OutOfMemoryError: CUDA out of memory.", SGLANG_END),
    },
}


def failure(engine: str, refusal: Refusal, length: int) -> Iterator[str]:
    """The last lines of a server that does not serve; `length` is the longest sequence that it promises."""
    lines = FAILURES[engine][refusal.cause]
    if engine == "vllm" and refusal.cause is Cause.OUT_OF_MEMORY_POOL and not refusal.tokens:
        lines = (NO_POOL, VLLM_WRAPPER)
    yield f"simulated: {refusal.why}"
    for line in lines:
        yield line.format(
            why=refusal.why,
            length=length,
            tokens=refusal.tokens,
            needed=refusal.needed / GIB,
            room=refusal.room / GIB,
        )


def fail(engine: str, refusal: Refusal, length: int) -> NoReturn:
    """Print these lines, and end this process as the engine ends."""
    for line in failure(engine, refusal, length):
        say(line)
    if engine == "sglang" and refusal.cause is not Cause.BAD_COMBINATION:
        os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit(1)


def arguments(engine: str, given: Mapping[str, Scalar]) -> str:
    """The first line: what was asked for."""
    told = f"non-default args: {dict(given)}" if engine == "vllm" else f"server_args={dict(given)}"
    return prefix(engine) + told


def resolved(engine: str, server: Server) -> Iterator[str]:
    """What became of it."""
    if engine == "vllm":
        if not server.whole_prompts:
            tokens = server.step_tokens
            yield prefix(engine) + f"Chunked prefill is enabled with max_num_batched_tokens={tokens}."
        yield prefix(engine) + f"GPU KV cache size: {server.pool_tokens:,} tokens"
    else:
        running = server.slots * server.groups
        yield prefix(engine) + f"max_total_num_tokens={server.pool_tokens}, max_running_requests={running}"


def ready(engine: str) -> str:
    """That it answers."""
    if engine == "vllm":
        return "INFO:     Application startup complete."
    return prefix(engine) + "The server is fired up and ready to roll!"


def retracted(count: int) -> str:
    """That requests lost their place in the KV cache. SGLang alone tells it so; vLLM counts them at /metrics."""
    return prefix("sglang") + f"KV cache pool is full. Retract requests. #retracted_reqs: {count}"


def say(line: str) -> None:
    """Print one line of the log."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def prefix(engine: str) -> str:
    """The logger's."""
    if engine == "vllm":
        return f"(APIServer pid={os.getpid()}) INFO {time.strftime('%m-%d %H:%M:%S')} [simulated:0] "
    return time.strftime("[%Y-%m-%d %H:%M:%S] ")
