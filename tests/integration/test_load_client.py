"""Load clients that run as Jobs of a cluster, next to the server: how their report comes back, and what may go wrong.

The cluster is the fake one of the test kit, whose pods are processes of this host.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from clusters import IMAGE
from pydantic import JsonValue

from optuna_tuner import home
from optuna_tuner.benchmarks import prompts
from optuna_tuner.benchmarks.genai_bench import GenaiBench
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.benchmarks.script import Script, ScriptOptions
from optuna_tuner.client_site import ClientSite, Program
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Target
from optuna_tuner.deployers.kubernetes import Kubernetes
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.deployers.load_client import site as sites
from optuna_tuner.errors import BenchmarkError, EnvironmentFaultError, StoppedError
from optuna_tuner.other_programs import GENAI_BENCH
from optuna_tuner.testing import small_servers, word_tokenizer
from optuna_tuner.testing.fake_cluster import FakeCluster
from optuna_tuner.testing.fake_objects import part
from optuna_tuner.values import Cause, Endpoint, Handle, Launch, Measurement, Model, RequestSlo, Slot

PATIENCE_S = 120.0
MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
LAUNCH = Launch(argv=(sys.executable, "-c", small_servers.ANSWERS, "{host}", "{port}"), model=MODEL, image=IMAGE)
SLOT = Slot(name="kubernetes-0", host="here", elsewhere=True)
OF_A_TRIAL = ("jobs", "pods", "services", "secrets", "configmaps")
ASKS = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + '/health')"
WAITS = """
import sys, time
while True:
    print("waits", file=sys.stderr, flush=True)
    time.sleep(0.2)
"""
FAILS = "import sys; print('no such tokenizer', file=sys.stderr); sys.exit(3)"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


def deployer(cluster: FakeCluster, reach: JsonValue = "service", **client: JsonValue) -> Kubernetes:
    options = {"kubeconfig": str(cluster.kubeconfig), "poll_s": 0.2, "reach": reach}
    return Kubernetes(KubernetesOptions.model_validate({**options, "load_client": {"image": IMAGE, **client}}))


@contextmanager
def served(ours: Kubernetes, cluster: FakeCluster, launch: Launch = LAUNCH) -> Iterator[Handle]:
    """A server that answers; in the end nothing of it or of its clients is left."""
    handle = ours.start(ours.render(launch, "case-1", {"attempt": "a1", "study": "s1"}, SLOT), Path())
    try:
        assert poll(lambda: ours.endpoint(handle), Deadline.after(PATIENCE_S))
        yield handle
    finally:
        ours.stop(handle, 1)
        assert poll(lambda: None if cluster.names(*OF_A_TRIAL) else True, Deadline.after(PATIENCE_S))


def site_of(ours: Kubernetes, handle: Handle) -> ClientSite:
    found = ours.client_site(handle)
    assert found is not None
    return found


def target(site: ClientSite | None, folder: Path) -> Target:
    return Target(
        endpoint=Endpoint(url="http://127.0.0.1:9", model="small"),  # nobody is there: only a pod can reach the server
        model=MODEL,
        folder=folder,
        seed=1,
        slo=RequestSlo(),
        success_rate=0.99,
        slot=SLOT,
        site=site,
    )


def script(source: str) -> Script:
    command = [sys.executable, "-c", source, "{url}", "{folder}"]
    return Script(ScriptOptions.model_validate({"command": command, "metrics": ["own_score"], "output": "file"}))


def run(ours: Kubernetes, handle: Handle, folder: Path, source: str, stopped: Event | None = None) -> Measurement:
    deadline = Deadline.after(PATIENCE_S, stopped)
    (found,) = script(source).run(target(site_of(ours, handle), folder), deadline)
    return found


@pytest.mark.genai_bench
@pytest.mark.skipif(GENAI_BENCH.executable().find(None) is None, reason=str(GENAI_BENCH.executable().missing(None)))
def test_genai_bench_in_a_pod_is_believed_as_it_is_here(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    ours, tokenizer = deployer(fake_cluster), word_tokenizer.write(tmp_path / "tokenizer", prompts.WORDS)
    argv = (sys.executable, "-m", "optuna_tuner.testing.fake_server", "--host", "{host}", "--port", "{port}")
    server = replace(LAUNCH, argv=(*argv, "--model", "small", "--ttft-ms", "50"))
    said = {
        "scenario": "D(16,8)",
        "concurrency": [2],
        "requests": 8,
        "executable": str(GENAI_BENCH.executable().find(None)),
    }
    with served(ours, fake_cluster, server) as handle:
        here = replace(target(site_of(ours, handle), tmp_path), model=replace(MODEL, tokenizer=str(tokenizer)))
        began = time.time()
        runs = GenaiBench(GenaiBenchOptions.model_validate(said)).run(here, Deadline.after(PATIENCE_S))
        measured = next(runs)
        runs.close()  # type: ignore[attr-defined]
        [lines] = tmp_path.rglob("requests-1-*.jsonl")
        starts = [json.loads(line)["timestamp_start"] for line in lines.read_text().splitlines()]
        assert measured.metrics["ttft_ms.p50"] >= 0.97 * 50
        assert all(began < start < time.time() for start in starts)
        assert fake_cluster.names("jobs", "configmaps") == ["jobs case-1"]


def test_what_keeps_a_client_from_its_report_is_the_benchmarks_fault(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    failing: list[tuple[dict[str, JsonValue], str, str]] = [
        ({}, FAILS, "ended with code 3: no such tokenizer"),
        (
            {"image": "nobody/has-it:1"},
            ASKS,
            'cannot run: .* ImagePullBackOff: Back-off pulling image "nobody/has-it:1"',
        ),
        ({"node_selector": {"pool": "nope"}, "start_s": 1}, ASKS, r"did not run within 1 s .*didn't match"),
        (
            {"volumes": [{"claim": "nope", "target": "/m"}]},
            ASKS,
            'cannot run: .*persistentvolumeclaim "nope" not found',
        ),
    ]
    with served(deployer(fake_cluster), fake_cluster) as handle:
        for client, source, why in failing:
            with pytest.raises(BenchmarkError, match=why) as caught:
                run(deployer(fake_cluster, **client), handle, tmp_path, source)
            assert caught.value.cause is Cause.BENCHMARK_FAILED
            assert fake_cluster.names("jobs", "configmaps") == ["jobs case-1"]


@contextmanager
def waiting(ours: Kubernetes, handle: Handle, folder: Path) -> Iterator[list[BaseException]]:
    """A client that waits in its pod, and what its benchmark ends with."""
    raised: list[BaseException] = []
    stopped = Event()

    def measure() -> None:
        try:
            run(ours, handle, folder, WAITS, stopped)
        except (BenchmarkError, StoppedError) as error:
            raised.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    said = folder / "benchmark" / "script-1" / "stderr.txt"

    def look() -> bool | None:
        """What it says grows from look to look: more than one was taken."""
        words.add(said.read_text() if said.exists() else "")
        return True if len(words) > 2 and all(set(text.split()) <= {"waits"} for text in words) else None

    words: set[str] = set()
    try:
        assert poll(look, Deadline.after(PATIENCE_S))
        yield raised
        thread.join(PATIENCE_S)
    finally:
        stopped.set()
        thread.join()


def test_how_its_pod_ends_is_told_and_never_the_configurations_fault(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    ours, name = deployer(fake_cluster), "case-1-script-1"

    def out_of_time() -> None:
        job = fake_cluster.kubelet.objects.held["jobs", "default", name]
        part(job, "spec")["activeDeadlineSeconds"] = 0

    ends: list[tuple[Callable[[], object], Cause, str]] = [
        (lambda: fake_cluster.run_out_of_memory(name), Cause.BENCHMARK_FAILED, "raise deployer.load_client.memory"),
        (lambda: fake_cluster.evict(name, "low on resource: memory"), Cause.NODE_LOST, "low on resource: memory"),
        (lambda: fake_cluster.delete_pod(name), Cause.NODE_LOST, "somebody delete"),
        (lambda: fake_cluster.do(out_of_time), Cause.BENCHMARK_FAILED, "its Job's deadline has passed"),
    ]
    with served(ours, fake_cluster) as handle:
        for number, (end, cause, why) in enumerate(ends):
            with waiting(ours, handle, tmp_path / str(number)) as raised:
                end()
            assert isinstance(raised[0], BenchmarkError)
            assert (raised[0].cause, why in str(raised[0])) == (cause, True), raised


def test_an_api_server_that_is_away_is_borne_for_a_while(
    fake_cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = deployer(fake_cluster, "port-forward")
    with served(ours, fake_cluster) as handle, waiting(ours, handle, tmp_path) as raised:
        fake_cluster.api.away = True
        assert poll(lambda: True if raised else None, Deadline.after(1)) is None
        monkeypatch.setattr(sites, "SILENT_S", 0.5)
        assert poll(lambda: True if raised else None, Deadline.after(PATIENCE_S))
        fake_cluster.api.away = False
    assert "nothing was heard of the load client" in str(raised[0])


def test_a_client_ends_with_its_benchmark_and_that_of_a_killed_worker_with_its_server(
    fake_cluster: FakeCluster, tmp_path: Path
) -> None:
    ours, program = deployer(fake_cluster), Program(argv=(sys.executable, "-c", WAITS))
    with served(ours, fake_cluster) as handle:
        site = site_of(ours, handle)
        folders = [tmp_path / name for name in ("script-1", "script-2")]
        for folder in folders:
            folder.mkdir()
        with site.started(program, folders[0], Deadline.after(PATIENCE_S)) as client:
            assert client.exit_code is None
            assert len(fake_cluster.names("jobs")) == 2
        assert fake_cluster.names("jobs") == ["jobs case-1"]
        of_a_killed_worker = site.started(program, folders[1], Deadline.after(PATIENCE_S))
        of_a_killed_worker.__enter__()
        assert sorted(fake_cluster.names("jobs")) == ["jobs case-1", "jobs case-1-script-2"]
        other = deployer(fake_cluster)
        [found] = other.find({"attempt": "a1"})
        assert found == handle
        other.stop(found, 1)
        assert list(fake_cluster.names("jobs", "pods")) == []


def test_what_the_cluster_would_refuse_of_a_client_is_known_before(fake_cluster: FakeCluster) -> None:
    fake_cluster.api.forbidden = {"create /configmaps/"}
    with pytest.raises(EnvironmentFaultError, match="may not: create configmaps"):
        deployer(fake_cluster).prepare(LAUNCH)
    fake_cluster.api.forbidden = set()
    with pytest.raises(EnvironmentFaultError, match=r'unknown field "spec.nope"'):
        deployer(fake_cluster, patch={"spec": {"nope": 1}}).prepare(LAUNCH)
    deployer(fake_cluster).prepare(LAUNCH)
    assert fake_cluster.names(*OF_A_TRIAL) == []
