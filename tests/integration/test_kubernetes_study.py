"""Whole studies whose servers are Jobs of a cluster: run, wounded, and taken back. The cluster is the fake one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import IMAGE
from runs import measuring, process, running, say, wait_for, workers

from optuna_tuner import Tuner
from optuna_tuner.results.trials import TrialState
from optuna_tuner.testing.fake_cluster import FakeCluster
from optuna_tuner.values import Cause

QUICK, SLOW = 2, 400
OURS = ("jobs", "pods", "services", "secrets", "configmaps")


@pytest.fixture
def tuner(fake_cluster: FakeCluster, home: Path) -> Iterator[Tuner]:  # noqa: ARG001  everything lies there
    """At the end nothing of it may be left: no object, and no port-forward on this machine."""
    front = Tuner()
    yield front
    front.close()
    wait_for(lambda: not fake_cluster.names(*OURS))
    wait_for(lambda: not forwards(fake_cluster))


def forwards(cluster: FakeCluster) -> list[int]:
    def is_one(each: psutil.Process) -> bool:
        try:
            return f"--kubeconfig={cluster.kubeconfig}" in each.cmdline()
        except psutil.Error:
            return False

    return [each.pid for each in psutil.process_iter() if is_one(each)]


def pod_of(request: Mapping[str, Any]) -> object:
    return request["body"]["job"]["spec"]["template"]["spec"]


def file(cluster: FakeCluster, folder: Path, *, requests: int = QUICK, gpus: int = 1) -> Path:
    document = {
        "name": "pods",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "image": IMAGE, "flags": {"ttft_ms": 5}},
        "deployer": {"kind": "kubernetes", "kubeconfig": str(cluster.kubeconfig), "gpus": gpus, "poll_s": 0.5},
        "benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1], "requests": requests},
        "space": {"itl_ms": {"type": "float", "low": 4.0, "high": 5.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "budget": {"trials": 2},
        "limits": {"teardown_s": 5, "startup_s": 300, "warm_up_s": 300, "benchmark_s": 300},
    }
    path = folder / "pods.json"
    path.write_text(json.dumps(document))
    return path


def test_a_study_runs_on_a_cluster_and_says_how_it_was_reached(
    fake_cluster: FakeCluster, tuner: Tuner, tmp_path: Path
) -> None:
    path = str(file(fake_cluster, tmp_path))
    planned, ran = say("plan", path, "-o", "json"), say("run", path)
    assert (planned.returncode, ran.returncode) == (0, 0), planned.stderr + ran.stderr
    sent = [json.loads(each.read_text()) for each in sorted(tmp_path.rglob("launch.json"))]
    assert pod_of(json.loads(planned.stdout)["launches"][0]) in map(pod_of, sent)
    trials = tuner.trials("pods")
    assert [trial.state for trial in trials] == [TrialState.FEASIBLE] * 2
    assert {trial.slot for trial in trials} == {"kubernetes-0"}
    assert all("measured through a port-forward" in remark for trial in trials for remark in trial.remarks)
    assert fake_cluster.names(*OURS) == []


def test_a_benchmark_runs_next_to_the_server_as_it_was_planned(
    fake_cluster: FakeCluster, tuner: Tuner, tmp_path: Path
) -> None:
    path = file(fake_cluster, tmp_path)
    study = json.loads(path.read_text())
    asks = "import sys, urllib.request as r; r.urlopen(sys.argv[1] + '/health'); print('{\"own_score\": 7}')"
    study["deployer"]["load_client"] = {"image": IMAGE}
    study["benchmark"] = {"kind": "script", "command": [sys.executable, "-c", asks, "{url}"], "metrics": ["own_score"]}
    study["goals"]["objectives"] = [{"metric": "own_score", "direction": "maximize"}]
    study["budget"] = {"trials": 1}
    path.write_text(json.dumps(study))
    planned, ran = say("plan", str(path), "-o", "json"), say("run", str(path))
    assert (planned.returncode, ran.returncode) == (0, 0), planned.stderr + ran.stderr
    [sent] = [json.loads(each.read_text()) for each in tmp_path.rglob("job.json")]
    job, expected = sent["body"]["job"], json.loads(planned.stdout)["load_client"]["body"]["job"]
    assert (
        job["spec"]["template"]["spec"]["containers"][0]["command"][:-1]
        == (expected["spec"]["template"]["spec"]["containers"][0]["command"][:-1])
    ), "all but the address"
    assert job["metadata"]["ownerReferences"][0]["name"] == job["metadata"]["labels"]["optuna-tuner/server"]
    [trial] = tuner.trials("pods")
    assert (trial.state, trial.values) == (TrialState.FEASIBLE, (7,))
    assert any("measured by a Job in the cluster" in remark for remark in trial.remarks)
    assert fake_cluster.names(*OURS) == []


@pytest.mark.parametrize("phase", ["queue", "benchmark"])
def test_the_job_of_a_killed_worker_is_found_and_ended(
    fake_cluster: FakeCluster, tuner: Tuner, tmp_path: Path, phase: str
) -> None:
    wounded = {"gpus": 4} if phase == "queue" else {"requests": SLOW}
    tuner.create(tuner.validate(file(fake_cluster, tmp_path, **wounded)))
    with process("run", "pods") as run:
        wait_for(lambda: fake_cluster.names("jobs") and any(each.phase == phase for each in running(tuner, "pods")))
        for each in (psutil.Process(run.pid), *workers(run)):
            each.kill()
    assert len(fake_cluster.names("jobs")) == 1
    reaped = say("reap", "pods")
    assert reaped.returncode == 0, reaped.stderr
    assert fake_cluster.names(*OURS) == []
    [trial] = [each for each in tuner.trials("pods") if each.state is TrialState.FAILED]
    assert trial.cause is Cause.WORKER_LOST


def test_a_pod_that_is_taken_away_is_the_machines_fault_and_a_forward_knows_no_password(
    fake_cluster: FakeCluster, tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "for a kubeconfig's program")
    monkeypatch.setenv("OPTUNA_TUNER_STORAGE", tuner.storage)
    path = file(fake_cluster, tmp_path, requests=SLOW)
    tuner.create(tuner.validate(path))
    with process("run", "pods") as run:
        wait_for(lambda: measuring(tuner, "pods"))
        [name] = fake_cluster.names("jobs")
        (environment,) = {frozenset(psutil.Process(pid).environ()) for pid in forwards(fake_cluster)}
        assert "SOME_TOKEN" in environment
        assert "OPTUNA_TUNER_STORAGE" not in environment
        fake_cluster.disrupt(name.split()[1], "PreemptionByScheduler", "a better pod came")
        wait_for(lambda: any(each.state is TrialState.FAILED for each in tuner.trials("pods")))
        run.terminate()
        run.wait()
    [trial] = [each for each in tuner.trials("pods") if each.state is TrialState.FAILED]
    assert trial.cause is Cause.NODE_LOST
