"""A server is looked at while it is measured, and nothing that it does wrong disturbs the measurement."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from types import SimpleNamespace
from typing import cast

import httpx
import psutil
import pytest
from fake_gpus import host
from runs import study

from optuna_tuner import Tuner
from optuna_tuner.deployers.local import Local
from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.home import artifacts_folder
from optuna_tuner.http import LARGEST_ANSWER, get
from optuna_tuner.results.bottleneck.judging import bottleneck_of
from optuna_tuner.testing.fake_process import fake_server
from optuna_tuner.tuning import nvml
from optuna_tuner.tuning.deployment import Server
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.looks import Look, Looks
from optuna_tuner.tuning.sights import Page, Processes
from optuna_tuner.tuning.watching import Watch, watching
from optuna_tuner.values import Endpoint, Handle, Load, Measurement

PAGE = Path(__file__).parents[1] / "material" / "engines" / "llama-cpp-metrics.txt"
MEASURED = Measurement(load=Load(value=1), metrics={})


def server_at(url: str, every_s: float = 0.02) -> Server:
    limits = SimpleNamespace(limits=SimpleNamespace(watch_every_s=every_s))
    parts = SimpleNamespace(engine=LlamaCpp(LlamaCppOptions()), deployer=_Seen(Local.Options()))
    setting = SimpleNamespace(spec=limits, parts=parts, slot=SimpleNamespace(gpus=()))
    handle = Handle(deployer="seen", name="one", ref={})
    return Server(endpoint=Endpoint(url=url, model="tiny"), handle=handle, setting=setting)  # type: ignore[arg-type]


class _Seen(Local):
    """A deployer whose server is this process."""

    host_bound = False

    def process(self, handle: Handle) -> int:  # noqa: ARG002  there is one
        return os.getpid()


class _SlowAtFirst:
    """Tells of as many requests as it was looked at; loads libraries for the first look."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> Mapping[str, float]:
        """One more."""
        if not self.looks:
            sleep(0.3)
        self.looks += 1
        return {"server_running_requests": float(self.looks)}

    def close(self) -> None:
        """Nothing is open."""


class _Kept:
    """A journal that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[Mapping[str, object]] = []

    def looked(self, lines: list[Mapping[str, object]]) -> None:
        self.lines += lines


@contextmanager
def serving(status: int, text: bytes = b"", *, packed: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Answers every question with this; tells what was asked."""
    asked: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            if packed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            with suppress(ConnectionError):  # who asked has had enough
                self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_what_a_server_says_stands_beside_its_level() -> None:
    journal = _Kept()
    with serving(200, PAGE.read_bytes()) as (url, asked), watching(server_at(url), cast("Journal", journal)) as watch:
        assert asked == ["/metrics"], "the first look comes before there is a load"
        seen = watch.beside(MEASURED).seen
    assert (seen["server_running_requests.mean"], seen["server_waiting_requests.max"]) == (4, 2)
    assert journal.lines[0]["load"] == "concurrency=1"
    assert journal.lines[0]["server_waiting_requests"] == 2


def test_a_server_without_a_page_is_not_asked_for_ever() -> None:
    with serving(404) as (url, asked):
        page = Page(server_at(url))
        assert [page.look() for _ in range(9)] == [{}] * 9
        page.close()
    assert len(asked) == 3


@pytest.mark.parametrize("packed", [False, True])
def test_a_page_without_end_is_not_read(packed: bool) -> None:  # noqa: FBT001  a case of the test
    text = PAGE.read_bytes()
    endless = text + b"#" * LARGEST_ANSWER
    with serving(200, gzip.compress(endless) if packed else endless, packed=packed) as (url, asked):
        page = Page(server_at(url))
        assert page.look() == {}
        page.close()
        with pytest.raises(httpx.ReadError, match=f"more than {LARGEST_ANSWER} bytes"):
            get(f"{url}/metrics", 10)
    assert asked == ["/metrics"] * 2
    with serving(200, gzip.compress(text) if packed else text, packed=packed) as (url, _):
        page = Page(server_at(url))
        assert page.look()["server_waiting_requests"] == 2
        page.close()


def test_a_first_look_that_took_long_keeps_nobody_from_the_second() -> None:
    sight = _SlowAtFirst()
    watch = Watch((sight,), cast("Journal", _Kept()))
    watch.begin()
    watch.look()
    assert watch.beside(MEASURED).seen["server_running_requests.max"] == 2


def test_a_server_that_is_gone_fails_nobody() -> None:
    journal = _Kept()
    with watching(server_at("http://127.0.0.1:1"), cast("Journal", journal)) as watch:
        found = watch.beside(MEASURED)
    assert found.seen["looks"] >= 1
    assert not [name for name in found.seen if "requests" in name]


def test_nobody_looks_where_the_study_says_so() -> None:
    with serving(200, PAGE.read_bytes()) as (url, asked):
        with watching(server_at(url, 0), cast("Journal", _Kept())) as watch:
            assert watch.beside(MEASURED) == MEASURED
        assert asked == []


def test_the_time_of_processes_is_that_of_the_system() -> None:
    processes, looks = Processes(os.getpid()), Looks()
    before = psutil.Process().cpu_times()
    assert processes.look() == {}
    while psutil.Process().cpu_times().user < before.user + 0.05:
        pass
    found = processes.look()
    assert 0 < found["server_cpu_cores"] <= 2
    assert found["client_cpu_cores"] >= found["server_busiest_process_cores"] > 0
    assert found["server_memory_gib"] > 0.01
    assert 0 <= found["host_cpu_use"] <= 1
    assert looks.summary() == {}


def test_gpus_at_work_are_seen_by_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = host(tmp_path / "gpus", monkeypatch, count=3)
    first, second, lost = three.uuids
    with nvml.session() as opened, three.used(first):
        assert opened is not None
        assert opened.used_by({os.getpid()}) == (first,)
        busy = {"gpu_busy": 0.97, "gpu_memory_busy": 0.62, "gpu_memory_gib": 72.0, "gpu_power_w": 640.0}
        assert opened.work([first]) == busy
        looks = Looks()
        looks.add(Look(at=0.0, took_s=0.1, values=opened.work([first])))
        assert looks.summary()["gpu_power_w.mean"] == 640.0
        both = opened.work([first, second])
        assert (both["gpu_busy"], both["gpu_power_w"]) == (0.485, 710.0)
        three.ill(lost, "lost")
        assert opened.work([first, lost]) == {}


def test_the_fake_server_tells_who_runs_and_who_waits() -> None:
    with fake_server("--slots", "1", "--ttft-ms", "5000") as endpoint:
        body = {"model": endpoint.model, "messages": [{"role": "user", "content": "a"}], "max_tokens": 4}
        for _ in range(3):
            ask = Thread(target=_forget, args=(f"{endpoint.url}/v1/chat/completions", body), daemon=True)
            ask.start()
            ask.join(0.3)
        page = httpx.get(f"{endpoint.url}/metrics").text
    assert "fake:running 1\nfake:waiting 2\n" in page


def _forget(url: str, body: Mapping[str, object]) -> None:
    try:
        httpx.post(url, json=body, timeout=2)
    except httpx.HTTPError:
        return


def test_a_whole_trial_tells_that_requests_waited_for_a_place(tuner: Tuner) -> None:
    engine = {"kind": "fake", "flags": {"ttft_ms": 30, "itl_ms": 5, "slots": 2, "eos_after": 512}}
    load = {"kind": "http", "scenario": "D(8,64)", "concurrency": [8], "requests": 24}
    limits = {"teardown_s": 5, "watch_every_s": 0.1}
    view = tuner.run(study("slots", engine=engine, benchmark=load, limits=limits, budget={"trials": 1}))
    (trial,) = view.trials
    (level,) = trial.measurements
    assert level.seen["server_running_requests.max"] == 2
    assert level.seen["server_waiting_requests.max"] >= 4
    assert level.seen["server_memory_gib.max"] > 0
    found = bottleneck_of(view.spec, trial)
    assert found is not None
    assert found.limit.value in {"queueing", "cpu", "client", "cannot tell"}, "a busy machine may be the limit as well"
    folder = artifacts_folder() / view.id / trial.attempt_id
    looks = [json.loads(line) for line in (folder / "looks.jsonl").read_text("ascii").splitlines()]
    assert {"at", "load", "look_ms", "server_waiting_requests"} <= looks[-2].keys()
    assert json.loads((folder / "levels.jsonl").read_text("ascii"))["load"]["value"] == 8
