"""OME's BenchmarkJob as the load client: its report comes back off a claim, and its traps are known.

The cluster is the fake one of the test kit; genai-bench there is a program that leaves a recorded report.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import IMAGE, ome_options
from pydantic import JsonValue

from optuna_tuner import home
from optuna_tuner.benchmarks.genai_bench import GenaiBench
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Target
from optuna_tuner.deployers.ome import benchmark_site
from optuna_tuner.deployers.ome.deployer import Ome
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.errors import BenchmarkError
from optuna_tuner.testing.fake_cluster import FakeCluster
from optuna_tuner.values import Cause, Handle, Launch, Measurement, Model, RequestSlo, Slot

PATIENCE_S = 120.0
RECORDED = Path(__file__).parents[1] / "material" / "genai_bench" / "ok"
MODEL = Model(name="vllm-model", path="/nowhere", tokenizer="/nowhere")
SERVER = (sys.executable, "-m", "optuna_tuner.testing.fake_server", "--model", "vllm-model")
LAUNCH = Launch(argv=(*SERVER, "--host", "{host}", "--port", "{port}"), model=MODEL, image=IMAGE)
SLOT = Slot(name="ome-0", host="here", elsewhere=True)
OF_A_TRIAL = ("inferenceservices", "benchmarkjobs", "jobs", "pods", "services", "configmaps")
# Asks the server that it is told of, and leaves the recorded report where it is told to.
PROGRAM = f"""#!{sys.executable}
import os, pathlib, shutil, sys, time, urllib.request
said = dict(zip(sys.argv[2::2], sys.argv[3::2]))
if os.environ.get("BREAKS"):
    sys.exit("OSError: no such tokenizer")
assert said["--api-model-name"] == "vllm-model"
urllib.request.urlopen(said["--api-base"] + "/health")
time.sleep(4)  # the recorded run took its time
shutil.copytree({str(RECORDED)!r}, pathlib.Path(said["--experiment-base-dir"], said["--experiment-folder-name"]))
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


@pytest.fixture
def cluster(fake_cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """One with a claim, genai-bench in its images, and a manager that does not wait a minute."""
    place = tmp_path / "bin" / "genai-bench"
    place.parent.mkdir()
    place.write_text(PROGRAM)
    place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.parent}:{os.environ['PATH']}")
    fake_cluster.controllers.claims.add("results")
    fake_cluster.ome.benchmarks.looks_every_s = 1.0
    return fake_cluster


def deployer(cluster: FakeCluster, **said: JsonValue) -> Ome:
    job: JsonValue = {"claim": "results", "folder": "of/tuner", "reader_image": IMAGE, "image": IMAGE, **said}
    return Ome(OmeOptions.model_validate(ome_options(cluster.kubeconfig, reach="service", benchmark_job=job)))


@contextmanager
def served(ours: Ome, cluster: FakeCluster) -> Iterator[Handle]:
    """A server that is ready; in the end nothing of it or of its clients is left."""
    ours.prepare(LAUNCH)
    handle = ours.start(ours.render(LAUNCH, "case-1", {"attempt": "a1"}, SLOT), Path())
    try:
        assert poll(lambda: ours.endpoint(handle), Deadline.after(PATIENCE_S))
        yield handle
    finally:
        ours.stop(handle, 1)
        assert poll(lambda: None if cluster.names(*OF_A_TRIAL) else True, Deadline.after(PATIENCE_S))


def target_of(ours: Ome, handle: Handle, folder: Path) -> Target:
    endpoint = ours.endpoint(handle)
    assert endpoint is not None
    return Target(
        endpoint=endpoint,
        model=MODEL,
        folder=folder,
        seed=1,
        slo=RequestSlo(),
        success_rate=0.99,
        slot=SLOT,
        site=ours.client_site(handle),
    )


def run(ours: Ome, handle: Handle, folder: Path) -> list[Measurement]:
    target = target_of(ours, handle, folder)
    said = {"scenario": "D(8,4)", "concurrency": [1, 2], "requests": 4}
    return list(GenaiBench(GenaiBenchOptions.model_validate(said)).run(target, Deadline.after(PATIENCE_S)))


def test_a_report_comes_back_off_the_claim_where_it_stays_and_nothing_else_does(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    ours = deployer(cluster)
    with served(ours, cluster) as handle:
        first, second = (run(ours, handle, tmp_path)[-1] for _ in range(2))
        assert first.metrics == second.metrics
        assert first.metrics["completed_requests"] >= 4
        jobs = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("genai-bench-?/job.json"))]
        names = [job["metadata"]["name"] for job in jobs]
        assert names == ["case-1-genai-bench-1", "case-1-genai-bench-2"], "OME never changes one that is there"
        kept = sorted(each.name for each in (cluster.folder / "claims" / "results" / "of" / "tuner").iterdir())
        assert kept == names
        assert list(tmp_path.rglob("prompts.json")) == [], "OME's genai-bench has prompts of its own"
        assert cluster.names("benchmarkjobs", "jobs", "configmaps") == [], "its finalizer is waited for"


def test_the_minute_after_which_the_manager_looks_again_for_a_ready_server_is_never_waited_out(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.ome.benchmarks.looks_every_s = 10 * PATIENCE_S
    ours = deployer(cluster)
    with served(ours, cluster) as handle:
        assert run(ours, handle, tmp_path)[-1].metrics["completed_requests"] >= 4


def test_a_run_that_fails_is_told_with_its_last_words(cluster: FakeCluster, tmp_path: Path) -> None:
    ours = deployer(cluster, env={"BREAKS": "1"})
    with served(ours, cluster) as handle, pytest.raises(BenchmarkError, match="OSError: no such tokenizer"):
        run(ours, handle, tmp_path)


def test_one_that_never_schedules_is_running_to_ome_and_given_up_by_us(cluster: FakeCluster, tmp_path: Path) -> None:
    ours = deployer(cluster, node_selector={"pool": "nope"}, start_s=6)
    with served(ours, cluster) as handle:
        with pytest.raises(BenchmarkError, match=r"did not run within 6 s .*didn't match") as caught:
            run(ours, handle, tmp_path)
        assert caught.value.cause is Cause.BENCHMARK_FAILED


def test_an_image_that_is_not_there_is_told_at_once(cluster: FakeCluster, tmp_path: Path) -> None:
    ours = deployer(cluster, image="nobody/has-it:1")
    with served(ours, cluster) as handle, pytest.raises(BenchmarkError, match="ImagePullBackOff"):
        run(ours, handle, tmp_path)


def test_what_a_manager_that_is_away_keeps_is_told_and_ended_with_the_server(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(benchmark_site, "_END_S", 0.5)
    ours = deployer(cluster, env={"BREAKS": "1"})
    with served(ours, cluster) as handle, caplog.at_level(logging.WARNING):
        target, folder = target_of(ours, handle, tmp_path), tmp_path / "genai-bench-1"
        assert target.site is not None
        options = GenaiBenchOptions.model_validate({"scenario": "D(8,4)", "concurrency": [1]})
        folder.mkdir()
        program = GenaiBench(options).program(target, target.site.vantage)
        with target.site.started(program, folder, Deadline.after(PATIENCE_S)):
            cluster.ome.up = False
        assert "case-1-genai-bench-1 does not go, although it was deleted" in caplog.text
        [found] = deployer(cluster).find({"attempt": "a1"})
        assert found == handle
        cluster.ome.up = True
