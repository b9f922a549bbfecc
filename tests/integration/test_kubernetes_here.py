"""Whole studies on a real Kubernetes whose node is this machine: tests/lanes/kubernetes.sh makes one, and runs this."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from clusters import IMAGE, MOUNTS, Cluster, mounted
from runs import measuring, process, say, wait_for, workers

from optuna_tuner import Tuner
from optuna_tuner.benchmarks import prompts
from optuna_tuner.other_programs import GENAI_BENCH
from optuna_tuner.results.trials import TrialState
from optuna_tuner.testing import word_tokenizer
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


def file(cluster: Cluster, folder: Path, requests: int, **changes: Mapping[str, object]) -> Path:
    document: dict[str, dict[str, object]] = {
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
    path.write_text(
        json.dumps({"name": "pods"} | document | {key: {**document[key], **value} for key, value in changes.items()})
    )
    return path


def test_a_study_runs_with_two_workers(cluster: Cluster, tuner: Tuner, tmp_path: Path) -> None:
    ran = say("run", str(file(cluster, tmp_path, QUICK)), "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    trials = tuner.trials("pods")
    assert [trial.state for trial in trials] == [TrialState.FEASIBLE] * 2
    assert {trial.slot for trial in trials} <= {"kubernetes-0", "kubernetes-1"}
    assert cluster.remains() == []


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


@pytest.mark.genai_bench
@pytest.mark.skipif(GENAI_BENCH.executable().find(None) is None, reason=str(GENAI_BENCH.executable().missing(None)))
def test_genai_bench_runs_in_a_pod_next_to_the_server(cluster: Cluster, tuner: Tuner, tmp_path: Path) -> None:
    program, tokenizer = (
        str(GENAI_BENCH.executable().demanded(None)),
        word_tokenizer.write(tmp_path / "tokenizer", prompts.WORDS),
    )
    room = str(Path(program).parents[1])  # its environment, whose Python is this machine's
    client = {"image": IMAGE, "volumes": mounted([*MOUNTS, room, str(tokenizer)])}
    study = file(
        cluster,
        tmp_path,
        8,
        model={"tokenizer": str(tokenizer)},
        deployer={"load_client": client},
        benchmark={"kind": "genai_bench", "executable": program},
        budget={"trials": 1},
    )
    ran = say("run", str(study))
    assert ran.returncode == 0, ran.stderr
    [trial] = tuner.trials("pods")
    assert trial.state is TrialState.FEASIBLE
    assert any("measured by a Job in the cluster" in remark for remark in trial.remarks)
    assert cluster.remains() == []
