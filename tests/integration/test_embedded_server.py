"""The embedded server as a real process, on the model made here."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.engines.embedded import builtin_model_path
from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.tuning.answers import ask, drift
from optuna_tuner.values import Cause, Endpoint, Model, Params, Scalar, Slot

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

pytestmark = pytest.mark.embedded
MAKE = "from optuna_tuner.engines.embedded import resolve_model; print(resolve_model('tiny', 'builtin', None).path)"
PATIENCE_S = 60.0
ENGINE = LlamaCpp(LlamaCppOptions())
Start = Callable[..., "Server"]


class Server:
    """One launched server: its process, its address, its log."""

    def __init__(self, flags: Mapping[str, Scalar], folder: Path, model: Model, port: int) -> None:
        launch = ENGINE.render(model, Params(flags=flags), Slot(name="cpu", host="here"))
        places = {"{host}": "127.0.0.1", "{port}": str(port)}
        self.log_file = folder / f"server-{port}-{len(list(folder.iterdir()))}.log"
        self.endpoint = Endpoint(url=f"http://127.0.0.1:{port}", model="tiny")
        with self.log_file.open("wb") as log:
            argv = [places.get(argument, argument) for argument in launch.argv]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **launch.env})

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self) -> None:
        def answers() -> bool | None:
            assert self.process.poll() is None, self.log
            try:
                return httpx.get(f"{self.endpoint.url}/health", timeout=2).status_code == 200 or None
            except httpx.HTTPError:
                return None

        assert poll(answers, Deadline.after(PATIENCE_S), every_s=0.05), self.log

    def chat(self, text: str, tokens: int) -> tuple[str, str]:
        message = {"role": "user", "content": text}
        body = {"model": "tiny", "messages": [message], "max_tokens": tokens, "temperature": 0}
        answer = httpx.post(f"{self.endpoint.url}/v1/chat/completions", json=body, timeout=PATIENCE_S)
        choice = answer.raise_for_status().json()["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTUNA_TUNER_HOME", str(tmp_path_factory.mktemp("home")))
        path = subprocess.run([sys.executable, "-c", MAKE], check=True, capture_output=True, text=True).stdout.strip()
        assert path == str(builtin_model_path())
        yield Model(name="tiny", path=path, tokenizer=path)


@pytest.fixture
def start(model: Model, tmp_path: Path) -> Iterator[Start]:
    started: list[Server] = []

    def starter(*, port: int | None = None, **flags: Scalar) -> Server:
        server = Server({"threads": 1, **flags}, tmp_path, model, port or free_port())
        started.append(server)
        return server

    yield starter
    for server in started:
        server.process.kill()
        server.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_four_processes_at_once_make_one_whole_model(tmp_path: Path) -> None:
    environment = {**os.environ, "OPTUNA_TUNER_HOME": str(tmp_path)}
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKE], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    paths = {maker.communicate()[0].strip() for maker in makers}
    assert {maker.returncode for maker in makers} == {0}
    folders = [entry for entry in (tmp_path / "models").iterdir() if entry.is_dir()]
    assert [str(folder) for folder in folders] == list(paths)
    assert {entry.name for entry in folders[0].iterdir()} == {
        *("config.json", "model.gguf", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }


def test_it_serves_the_builtin_model_and_says_so(start: Start) -> None:
    server = start(parallel=2, ctx_size=2048)
    server.wait_until_ready()
    assert ENGINE.identify(server.endpoint) == "tiny"
    told = ENGINE.effective_config(server.endpoint, server.log)
    assert {"parallel": 2, "ctx_size": 2048, "threads": 1, "cont_batching": True}.items() <= told.items()
    assert "llamacpp:requests_processing" in httpx.get(f"{server.endpoint.url}/metrics").text


def test_a_reply_is_printable_runs_to_its_limit_and_depends_on_the_prompt(start: Start) -> None:
    server = start(parallel=2, ctx_size=2048)
    server.wait_until_ready()
    replies = [server.chat(text, 64) for text in ("What is a list?", "What is a list?", "Count to ten!")]
    assert replies[0] == replies[1] != replies[2]
    assert all(text.isascii() and text.isprintable() and end == "length" for text, end in replies)


def test_every_chunk_of_a_stream_has_text(start: Start) -> None:
    server = start()
    server.wait_until_ready()
    body = {"model": "tiny", "prompt": "a list", "max_tokens": 32, "stream": True, "temperature": 1.0, "seed": 7}
    with httpx.stream("POST", f"{server.endpoint.url}/v1/completions", json=body, timeout=PATIENCE_S) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    texts = [line for line in lines if '"finish_reason":null' in line]
    assert len(texts) >= 32
    assert not any('"text":""' in line for line in texts)


@pytest.mark.parametrize(
    ("flags", "code", "cause"),
    [
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, 1, Cause.BAD_COMBINATION),
        ({"ctx_size": 40_000_000}, 1, Cause.OUT_OF_MEMORY_POOL),
        ({"no_such_flag": 3}, 2, Cause.BAD_FLAG),
        ({"cache_type_k": "q9"}, 2, Cause.BAD_FLAG),
        ({"parallel": 0}, 2, Cause.BAD_FLAG),
        ({"parallel": 300}, 1, Cause.BAD_FLAG),
    ],
)
def test_flags_that_cannot_work_end_the_server_with_its_reason(
    start: Start, flags: Mapping[str, Scalar], code: int, cause: Cause
) -> None:
    server = start(**flags)
    assert server.process.wait(PATIENCE_S) == code
    assert ENGINE.diagnose(server.log, code).cause is cause


def test_a_port_that_is_taken_is_the_machines_fault(start: Start) -> None:
    with taken_port() as port:
        server = start(port=port)
        assert server.process.wait(PATIENCE_S) == 1
    assert ENGINE.diagnose(server.log, 1).cause is Cause.PORT_IN_USE


def test_the_same_quantized_cache_works_with_flash_attention(start: Start) -> None:
    server = start(cache_type_v="q8_0", cache_type_k="q8_0", flash_attn="on")
    server.wait_until_ready()
    assert server.chat("hello", 8)[1] == "length"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_in_mid_stream(start: Start, number: signal.Signals) -> None:
    server = start(parallel=2, ctx_size=8192)
    server.wait_until_ready()
    began = threading.Event()

    def listen() -> None:
        body = {"model": "tiny", "prompt": "a", "max_tokens": 4000, "stream": True}
        try:
            with httpx.stream("POST", f"{server.endpoint.url}/v1/completions", json=body, timeout=30) as answer:
                for _ in answer.iter_raw():
                    began.set()
        except httpx.HTTPError:
            return

    listener = threading.Thread(target=listen)
    listener.start()
    assert began.wait(PATIENCE_S)
    asked = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE_S) == 0, server.log
    assert time.monotonic() - asked < 10
    listener.join()


def test_a_coarser_cache_answers_otherwise_and_a_larger_batch_does_not(start: Start) -> None:
    """What a quality guard stands on: speed flags leave the answers, KV cache types move them."""
    prompts = ("Why is the sky blue?", "List ten countries.", "Write a letter to a landlord.")
    answers = []
    for flags in ({}, {"ubatch_size": 32}, {"cache_type_k": "q4_0"}):
        server = start(**flags)
        server.wait_until_ready()
        answers.append(ask(server.endpoint, prompts, 24, Deadline.after(PATIENCE_S)))
        server.process.kill()
    like, unlike = (drift(answers[0], other) for other in answers[1:])
    assert like.logprob_drift is not None
    assert unlike.agreement < like.agreement
    assert (unlike.logprob_drift or 1.0) > like.logprob_drift
