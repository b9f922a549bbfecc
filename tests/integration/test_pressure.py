"""What a server suffers without failing is kept with the trial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from runs import study

from optuna_tuner import Tuner
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.results.tables import trial_document
from optuna_tuner.values import Endpoint

METRICS = Path(__file__).parents[1] / "material" / "engines" / "vllm-metrics.txt"


@contextmanager
def serving(text: bytes) -> Iterator[Endpoint]:
    """Answers every question with this."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Endpoint(url=f"http://127.0.0.1:{server.server_port}", model="tiny")
        server.shutdown()


def test_vllms_preemptions_are_counted_over_all_its_engines() -> None:
    vllm, said = Vllm(VllmOptions()), METRICS.read_bytes()
    with serving(said) as endpoint:
        assert vllm.retractions(endpoint, "") == 6
    with serving(said + b'vllm:num_preemptions_total{engine="1",model_name="tiny"} 2.0\n') as endpoint:
        assert vllm.retractions(endpoint, "") == 8
    with serving(b"nothing of the kind") as endpoint:
        assert vllm.retractions(endpoint, "") is None
    assert vllm.retractions(Endpoint(url="http://127.0.0.1:1", model="tiny"), "") is None


def test_requests_that_lost_their_place_in_the_kv_cache_are_counted_by_the_log(tuner: Tuner) -> None:
    engine = {"kind": "fake", "flags": {"ttft_ms": 1, "misbehave": "retract=5"}}
    view = tuner.run(study("full", requests=20, engine=engine, budget={"trials": 1}))
    (trial,) = view.trials
    assert trial.feasible
    # Twenty requests; the log is written by another process, which may be some lines behind.
    assert trial.kv_cache_retractions is not None
    assert 50 <= trial.kv_cache_retractions <= 150
    assert trial.kv_cache_retractions % 5 == 0
    assert trial_document(trial)["kv_cache_retractions"] == trial.kv_cache_retractions


def test_a_server_that_tells_of_none_has_no_figure(tuner: Tuner) -> None:
    (trial,) = tuner.run(study("roomy", budget={"trials": 1})).trials
    assert trial.kv_cache_retractions is None
    assert json.dumps(trial_document(trial)["kv_cache_retractions"]) == "null"
