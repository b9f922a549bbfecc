"""The simulated server as a process: it streams on time, counts what it takes back, and dies as the true one does."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest

from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.engines.simulated import Simulated, SimulatedOptions
from optuna_tuner.http import get, post
from optuna_tuner.values import Cause, Endpoint, Json, Model, Params, Slot

MODEL = Model(name="tiny", path="/nowhere", tokenizer="/nowhere")
ENGINES: Mapping[str, tuple[str, str]] = {"vllm": ("0.33.0", "max_model_len"), "sglang": ("0.5.23", "context_length")}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
}


def simulated(like: str, **flags: bool | float | str) -> Simulated:
    version, length = ENGINES[like]
    told = {"like": like, "version": version, "gpu": "L40S", "config": CONFIG, "startup_s": 0.0}
    return Simulated(SimulatedOptions.model_validate({**told, "flags": {length: 2048, **flags}}))


@contextmanager
def process(engine: Simulated, port: int) -> Iterator[subprocess.Popen[str]]:
    launch = engine.render(MODEL, Params(), Slot(name="cpu", host="here"))
    argv = [{"{host}": "127.0.0.1", "{port}": str(port)}.get(word, word) for word in launch.argv]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def ready(engine: Simulated, port: int) -> Endpoint:
    endpoint = Endpoint(url=f"http://127.0.0.1:{port}", model="tiny")
    assert poll(lambda: engine.identify(endpoint), Deadline.after(60)) == "tiny"
    return endpoint


def ask(endpoint: Endpoint, words: int = 100, tokens: int = 8) -> Mapping[str, object]:
    said: dict[str, Json] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "a " * words}],
        "max_tokens": tokens,
    }
    found: Mapping[str, object] = post(f"{endpoint.url}/v1/chat/completions", {**said, "ignore_eos": True}, 30).json()
    return found


def test_a_reply_takes_the_time_of_its_steps_and_has_all_its_tokens() -> None:
    engine, port = simulated("vllm"), free_port()
    with process(engine, port):
        endpoint = ready(engine, port)
        began = now()
        reply = ask(endpoint, tokens=24)
        assert 23 * 0.02 < now() - began < 20  # an L40S reads 16 GB in 23 ms
        assert reply["usage"] == {"prompt_tokens": 100, "completion_tokens": 24, "total_tokens": 124}
        told = engine.effective_config(endpoint, "Chunked prefill is enabled with max_num_batched_tokens=2048.")
        assert told == {"max_num_batched_tokens": 2048, "version": "0.33.0"}
        assert engine.retractions(endpoint, "") == 0
        page = get(f"{endpoint.url}/metrics", 5).text
        assert "simulated:step_late_seconds_max" in page
        assert engine.told(page) == {
            "server_running_requests": 0,
            "server_waiting_requests": 0,
            "server_kv_cache_use": 0,
            "server_preemptions": 0,
            "server_generated_tokens": 24,
        }
        assert "maximum context length is 2048" in json.dumps(ask(endpoint, words=2048))


def test_sglang_tells_its_resolved_flags() -> None:
    engine, port = simulated("sglang", max_running_requests=4), free_port()
    with process(engine, port):
        told = engine.effective_config(ready(engine, port), "")
    assert told["max_running_requests"] == 4
    assert told["chunked_prefill_size"] == 4096


@pytest.mark.parametrize(
    ("like", "flags", "cause", "code"),
    [
        ("vllm", {"tensor_parallel_size": 2}, Cause.BAD_COMBINATION, 1),
        ("vllm", {"gpu_memory_utilization": 0.3}, Cause.OUT_OF_MEMORY_POOL, 1),
        ("sglang", {"tp_size": 2}, Cause.BAD_COMBINATION, 1),
        ("sglang", {"mem_fraction_static": 0.3}, Cause.OUT_OF_MEMORY_POOL, -9),
    ],
)
def test_what_does_not_start_ends_with_the_engines_own_words_and_code(
    like: str, flags: dict[str, int | float], cause: Cause, code: int
) -> None:
    engine = simulated(like, **flags)
    with process(engine, free_port()) as started:
        _, log = started.communicate(timeout=60)
    assert re.match("simulated: .* no figure is a measurement", log)
    assert (engine.diagnose(log, started.returncode).cause, started.returncode) == (cause, code)


def test_what_runs_out_of_memory_under_load_is_ready_first() -> None:
    engine, port = simulated("vllm", gpu_memory_utilization=0.98, max_num_batched_tokens=32768), free_port()
    with process(engine, port) as started:
        endpoint = ready(engine, port)
        with pytest.raises(httpx.HTTPError):
            ask(endpoint)
        _, log = started.communicate(timeout=60)
    assert engine.diagnose(log, started.returncode).cause is Cause.OUT_OF_MEMORY_RUNTIME
