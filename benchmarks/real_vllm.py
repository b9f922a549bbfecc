"""Holds the vLLM engine and the built-in model against a real vLLM on a CPU. About five minutes on two cores.

    python benchmarks/real_vllm.py /path/to/environment/bin/vllm

It prints whether vLLM (from safetensors) and llama.cpp (from GGUF) give the same greedy replies byte for byte, what
vLLM tells of itself, and how refused launches are diagnosed. llama.cpp is asked to compute in 32 bits for this: its
flash attention rounds to 16 bits, which turns a near tie between two tokens now and then. Exit code 1 when anything is
not as it should be.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.embedded import resolve_model
from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.values import Cause, Endpoint, Launch, Params, Scalar, Slot

PATIENCE_S = 600.0
CPU = Slot(name="cpu", host="here")
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
IN_32_BITS: Mapping[str, Scalar] = {"flash_attn": "off", "cache_type_k": "f32", "cache_type_v": "f32"}
PROMPTS = (
    "Hello there, how are you?",
    "What does the with statement do?",
    "List three kinds of numbers.",
    "x",
    "Explain class attributes and instance attributes at length, please; use examples from the documentation.",
)
REFUSED: tuple[tuple[Mapping[str, Scalar], Cause], ...] = (
    ({"no_such_flag": 3}, Cause.BAD_FLAG),
    ({"kv_cache_dtype": "fp7"}, Cause.BAD_FLAG),
    ({"max_num_seqs": 64, "max_num_batched_tokens": 32}, Cause.BAD_COMBINATION),
    ({"max_model_len": 100_000}, Cause.BAD_COMBINATION),
    ({"block_size": 7}, Cause.BAD_COMBINATION),
    ({"num_gpu_blocks_override": 4}, Cause.OUT_OF_MEMORY_POOL),
)


class Running:
    """One server that was started, its address and its log."""

    def __init__(self, launch: Launch, log_file: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        places = {"{host}": "127.0.0.1", "{port}": str(port)}
        self.endpoint = Endpoint(url=f"http://127.0.0.1:{port}", model=launch.model.name)
        self.log_file = log_file
        with log_file.open("wb") as log:
            argv = [places.get(argument, argument) for argument in launch.argv]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **launch.env})

    @property
    def log(self) -> str:
        """All that it wrote."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def ready_or_ended(self) -> bool:
        """True when it answers, False when it ended."""

        def look() -> bool | None:
            if self.process.poll() is not None:
                return False
            try:
                return httpx.get(f"{self.endpoint.url}/health", timeout=2).status_code == httpx.codes.OK or None
            except httpx.HTTPError:
                return None

        return poll(look, Deadline.after(PATIENCE_S)) is True

    def reply(self, prompt: str) -> str:
        """The greedy reply, 48 tokens long."""
        message = {"role": "user", "content": prompt}
        body = {"model": self.endpoint.model, "messages": [message], "max_tokens": 48, "temperature": 0}
        answer = httpx.post(f"{self.endpoint.url}/v1/chat/completions", json=body, timeout=PATIENCE_S)
        return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])


@contextmanager
def running(engine: Engine, flags: Mapping[str, Scalar], folder: Path) -> Iterator[Running]:
    """A server on the built-in model with these flags; always ended."""
    launch = engine.render(resolve_model("tiny", "builtin", None), Params(flags=flags), CPU)
    server = Running(launch, folder / "server.log")
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


def replies(engine: Engine, flags: Mapping[str, Scalar], folder: Path) -> list[str]:
    """Greedy replies to all prompts; prints what the server tells of itself."""
    began = now()
    with running(engine, flags, folder) as server:
        if not server.ready_or_ended():
            raise SystemExit(server.log)
        print(f"{engine.kind}: ready after {now() - began:.1f} s, serves {engine.identify(server.endpoint)!r}")
        print(f"  effective: {dict(engine.effective_config(server.endpoint, server.log))}")
        return [server.reply(prompt) for prompt in PROMPTS]


def refused(engine: Engine, flags: Mapping[str, Scalar], cause: Cause, folder: Path) -> bool:
    """Whether these flags end the server, and for this cause."""
    began = now()
    with running(engine, flags, folder) as server:
        if server.ready_or_ended():
            print(f"ACCEPTED {dict(flags)}")
            return False
        found = engine.diagnose(server.log, server.process.returncode)
    print(f"{'ok   ' if found.cause is cause else 'WRONG'} {dict(flags)} after {now() - began:.1f} s: {found.cause}")
    print(f"  {found.evidence[:150]}")
    return found.cause is cause


def main() -> int:
    """Run all checks. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vllm", help="the vllm command of an environment with vLLM for CPU")
    command = (parser.parse_args().vllm, "serve")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        env = {**OFFLINE, "VLLM_CACHE_ROOT": str(folder / "cache")}
        flags = {"dtype": "float32", "enforce_eager": True}
        vllm = Vllm(VllmOptions(command=command, env=env, flags=flags))
        theirs, ours = replies(vllm, {}, folder), replies(LlamaCpp(LlamaCppOptions()), IN_32_BITS, folder)
        same = sum(a == b for a, b in zip(theirs, ours, strict=True))
        print(f"greedy replies that are the same byte for byte: {same} of {len(PROMPTS)}")
        verdicts = [refused(vllm, flags, cause, folder) for flags, cause in REFUSED]
    return 0 if same == len(PROMPTS) and all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
