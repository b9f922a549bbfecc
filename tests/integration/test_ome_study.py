"""A whole study whose servers are InferenceServices of the fake cluster: planned, run, and what is made stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import ome_options
from runs import say, wait_for

from optuna_tuner import Tuner
from optuna_tuner.results.trials import TrialState
from optuna_tuner.testing.fake_cluster import FakeCluster

OF_A_TRIAL = ("inferenceservices", "pods", "services", "secrets")
MADE = ["clusterbasemodels small", "clusterservingruntimes tuner-tests"]


@pytest.fixture
def tuner(home: Path) -> Iterator[Tuner]:  # noqa: ARG001  everything lies there
    front = Tuner()
    yield front
    front.close()


def file(cluster: FakeCluster, folder: Path) -> Path:
    document = {
        "name": "services",
        "model": {"name": "tiny", "path": "hub/tiny"},
        "engine": {"kind": "fake", "flags": {"ttft_ms": 5}},
        "deployer": {"kind": "ome", **ome_options(cluster.kubeconfig, poll_s=0.5)},
        "benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1], "requests": 2},
        "space": {"itl_ms": {"type": "float", "low": 4.0, "high": 5.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "budget": {"trials": 2},
        "limits": {"teardown_s": 5, "startup_s": 300, "warm_up_s": 300, "benchmark_s": 300},
    }
    path = folder / "services.json"
    path.write_text(json.dumps(document))
    return path


def test_what_is_planned_is_what_is_sent_and_a_model_and_a_runtime_stay(
    fake_cluster: FakeCluster, tuner: Tuner, tmp_path: Path
) -> None:
    path = str(file(fake_cluster, tmp_path))
    planned, ran = say("plan", path, "-o", "json"), say("run", path)
    assert (planned.returncode, ran.returncode) == (0, 0), planned.stderr + ran.stderr
    sent = [json.loads(each.read_text()) for each in sorted(tmp_path.rglob("launch.json"))]
    first = json.loads(planned.stdout)["launches"][0]["body"]
    assert first["needed"] == sent[0]["body"]["needed"]
    assert first["service"]["spec"]["engine"]["runner"] in [
        each["body"]["service"]["spec"]["engine"]["runner"] for each in sent
    ]
    trials = tuner.trials("services")
    assert [trial.state for trial in trials] == [TrialState.FEASIBLE] * 2
    assert {trial.slot for trial in trials} == {"ome-0"}
    assert "made the ClusterBaseModel small; it stays" in ran.stderr
    wait_for(lambda: not fake_cluster.names(*OF_A_TRIAL))
    assert sorted(fake_cluster.names("clusterbasemodels", "clusterservingruntimes")) == MADE
