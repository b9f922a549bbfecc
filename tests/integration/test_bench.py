"""The one-command benchmark on a server that runs already: what it prints and keeps, and what it never does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from click.testing import CliRunner
from recomputed import demand_found_again
from runs import home, process, servers, tuner, wait_for, workers

from optuna_tuner import Tuner
from optuna_tuner.cli.app import cli
from optuna_tuner.deployers.running import Running, RunningOptions
from optuna_tuner.engines.openai import OpenAi, OpenAiOptions
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.values import Endpoint, Launch, Model

__all__ = ["home", "tuner"]  # fixtures

STUDY = """\
name: killed
model: {name: tiny}
engine: {kind: fake, flags: {itl_ms: 20}}
benchmark: {kind: http, scenario: "D(8,64)", concurrency: [12, 1], requests: 12}
space: {ttft_ms: {type: int, low: 5, high: 9}}
goals: {objectives: [{metric: output_throughput_tok_s, direction: maximize}]}
limits: {teardown_s: 5}
"""
LAUNCH = Launch(argv=(), model=Model(name="wanted", path="wanted", tokenizer="wanted"))


@contextmanager
def listing(models: list[str], key: str = "") -> Iterator[str]:
    """A server that lists these models to whoever has the key."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = not key or self.headers["Authorization"] == f"Bearer {key}"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            owned = [{"id": model, "owned_by": "somebody"} for model in models]
            self.wfile.write(json.dumps({"data": owned}).encode() if allowed else b"no")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_without_the_model_is_refused_before_anything_is_measured() -> None:
    with (
        listing(["one", "other"]) as url,
        pytest.raises(EnvironmentFaultError, match='serves one, other, not "wanted"'),
    ):
        Running(RunningOptions(url=url)).prepare(LAUNCH)


def test_a_server_that_does_not_answer_is_refused() -> None:
    with pytest.raises(EnvironmentFaultError, match=r"nothing answers at http://127\.0\.0\.1:1"):
        Running(RunningOptions(url="http://127.0.0.1:1/v1")).prepare(LAUNCH)


def test_a_key_that_is_not_taken_is_told_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG_KEY", "wrong-secret")
    options = {"api_key": {"env": "WRONG_KEY"}}
    with listing(["wanted"], key="right-secret") as url:
        with pytest.raises(EnvironmentFaultError, match="the key in WRONG_KEY is not taken") as told:
            Running(RunningOptions.model_validate({"url": url, **options})).prepare(LAUNCH)
        with pytest.raises(EnvironmentFaultError, match="it wants a key"):
            Running(RunningOptions(url=url)).prepare(LAUNCH)
        monkeypatch.setenv("WRONG_KEY", "right-secret")
        Running(RunningOptions.model_validate({"url": url, **options})).prepare(LAUNCH)
        endpoint = Endpoint(url=url, model="wanted", key_variable="WRONG_KEY")
        assert OpenAi(OpenAiOptions()).identify(endpoint) == "wanted"
    assert "secret" not in str(told.value)


def test_of_several_models_the_wanted_one_is_the_one() -> None:
    engine = OpenAi(OpenAiOptions())
    with listing(["one", "wanted"]) as url:
        assert engine.identify(Endpoint(url=url, model="wanted")) == "wanted"
        assert engine.identify(Endpoint(url=url, model="another")) == "one"
        assert engine.effective_config(Endpoint(url=url, model="wanted"), "") == {}


@pytest.mark.usefixtures("home")
def test_a_running_server_is_measured_reported_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with fake_server("--ttft-ms", "10", "--itl-ms", "2", "--slots", "2") as endpoint:
        load = ("--concurrency", "1,4", "--scenario", "D(8,16)", "--requests", "8", "--repeat", "2")
        command = ("bench", "--url", f"{endpoint.url}/v1", "--model", MODEL, *load, "--slo", "ttft_ms.p99<=60000")
        made = CliRunner().invoke(cli, [*command, "-o", str(out), "--no-plots"])
        assert made.exit_code == 0, made.stderr
        assert httpx.get(f"{endpoint.url}/health").is_success, "it was neither stopped nor hurt"
        again = CliRunner().invoke(cli, [*command])
        assert again.exit_code == 0
        assert again.stdout == made.stdout, "what was measured is shown, not measured again"
    assert "4/4 D(8,16) concurrency=4: output_throughput_tok_s" in made.stderr
    assert "x2" in made.stdout
    assert "4 requests in flight keep ttft_ms.p99 <= 60000" in made.stdout
    assert "Bottleneck at D(8,16) concurrency=4, as a hypothesis: " in made.stdout
    report = json.loads((out / "report.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (out / "bundle" / "requests.jsonl").read_text("utf-8").splitlines()]
    demand_found_again(report, (out / "report.md").read_text("utf-8"), lines)
    assert (report["summary"]["decision"], len(report["curves"][0]["rows"])) == ("measured", 2)
    run = json.loads((out / "bundle" / "run.json").read_text("utf-8"))
    assert [level["level"] for level in run["levels"]] == ["D(8,16) concurrency=1", "D(8,16) concurrency=4"] * 2
    assert json.loads((out / "bundle" / "summary.json").read_text("utf-8"))["total_requests"] == 32


def test_a_killed_benchmark_leaves_no_server_and_the_report_of_what_it_measured(
    tuner: Tuner, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY, encoding="utf-8")
    with process("bench", str(file)) as run:
        wait_for(lambda: list(home.glob("artifacts/*/*/levels.jsonl")))
        hit = workers(run)
        run.kill()
        for worker in hit:
            worker.kill()
    wait_for(lambda: not servers(home))
    report = tuner.report("killed-bench")
    assert [row.load for row in report.curves[0].rows] == [12]
    assert "1 load was measured." in report.warnings[0]
    assert report.missing[0].startswith("These loads, which were not measured to their end: D(8,64) concurrency=1.")
    (run_json,) = tuner.bundle("killed-bench", tmp_path / "bundle", 0)
    assert [level.level for level in run_json.levels] == ["D(8,64) concurrency=12"]
    lines = [json.loads(line) for line in (tmp_path / "bundle" / "requests.jsonl").read_text("utf-8").splitlines()]
    assert sum(line["level"] == "D(8,64) concurrency=12" for line in lines) == 12
