"""Whole studies on a real Kubernetes whose node is this machine: tests/lanes/kubernetes.sh makes one, and runs this."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clusters import IMAGE, MOUNTS, Cluster
from runs import measuring, process, say, wait_for, workers

from optuna_tuner import Tuner
from optuna_tuner.results.trials import TrialState
from optuna_tuner.values import Cause

QUICK, SLOW = 2, 400


@pytest.fixture
def tuner(cluster: Cluster, home: Path) -> Iterator[Tuner]:  # noqa: ARG001  everything lies there
    """At the end no object of it may be left."""
    if not MOUNTS:
        pytest.skip("no real cluster of this machine: tests/lanes/kubernetes.sh")
    front = Tuner()
    yield front
    front.close()
    wait_for(lambda: not cluster.objects())


def file(cluster: Cluster, folder: Path, requests: int) -> Path:
    document = {
        "name": "pods",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "image": IMAGE, "flags": {"ttft_ms": 5}},
        "deployer": {"kind": "kubernetes", **cluster.own_options},
        "benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1], "requests": requests},
        "space": {"itl_ms": {"type": "float", "low": 4.0, "high": 5.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "budget": {"trials": 2},
        "limits": {"teardown_s": 5, "startup_s": 300, "warm_up_s": 300, "benchmark_s": 300},
    }
    path = folder / "pods.json"
    path.write_text(json.dumps(document))
    return path


def test_a_study_runs_with_two_workers(cluster: Cluster, tuner: Tuner, tmp_path: Path) -> None:
    ran = say("run", str(file(cluster, tmp_path, QUICK)), "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    trials = tuner.trials("pods")
    assert [trial.state for trial in trials] == [TrialState.FEASIBLE] * 2
    assert {trial.slot for trial in trials} <= {"kubernetes-0", "kubernetes-1"}
    assert cluster.objects() == []


def test_the_pod_of_a_killed_worker_is_found_and_ended(cluster: Cluster, tuner: Tuner, tmp_path: Path) -> None:
    tuner.create(tuner.validate(file(cluster, tmp_path, SLOW)))
    with process("run", "pods") as run:
        wait_for(lambda: measuring(tuner, "pods"))
        for each in (psutil.Process(run.pid), *workers(run)):
            each.kill()
        reaped = say("reap", "pods")
    assert reaped.returncode == 0, reaped.stderr
    [trial] = [each for each in tuner.trials("pods") if each.state is TrialState.FAILED]
    assert trial.cause is Cause.WORKER_LOST
