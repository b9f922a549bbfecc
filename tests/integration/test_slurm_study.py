"""Whole studies whose servers are jobs of a real Slurm cluster: run, wounded, and taken back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest
from pydantic import JsonValue
from runs import COMMAND, models_at, process, say, wait_for, workers
from slurm_cluster import GPUS, SlurmCluster, free_ports
from take_home import TWO_CORES, ended_study, export

from optuna_tuner import Tuner
from optuna_tuner.results.export import Export, Format
from optuna_tuner.results.trials import TrialState
from optuna_tuner.results.views import StudyState
from optuna_tuner.values import Cause, Params

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm_worker.sh"
QUICK, SLOW = 2, 30  # requests of a trial: some tenths of a second, some ten seconds


@pytest.fixture
def tuner(slurm: SlurmCluster, home: Path) -> Iterator[Tuner]:
    """At the end nothing of it may be left: no job, ticket, log or process."""
    front = Tuner()
    yield front
    front.close()
    wait_for(lambda: not slurm.queue())
    left = [f"{path}" for path in (home / "jobs").glob("*")]
    assert left == []


def file(home: Path, *, requests: int = QUICK, trials: int = 2, **deployer: object) -> Path:
    document: Mapping[str, object] = {
        "name": "jobs",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "flags": {"ttft_ms": 5}},
        "deployer": {
            "kind": "slurm",
            "folder": str(home / "jobs"),
            "address": "127.0.0.1",
            "poll_s": 1,
            "time": "20",
            "gpus_per_node": "h100:4",
            "lost_after_s": 40,
            **deployer,
        },
        "benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1], "requests": requests},
        "space": {"itl_ms": {"type": "float", "low": 4.0, "high": 5.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "budget": {"trials": trials},
        "limits": {"teardown_s": 5, "startup_s": 60, "warm_up_s": 30, "benchmark_s": 60, "lease_s": 60},
    }
    path = home.parent / "jobs.json"
    path.write_text(json.dumps(document))
    return path


def jobs(slurm: SlurmCluster) -> Sequence[str]:
    return [name for name in slurm.queue() if name.startswith("tuner-")]


@contextmanager
def all_gpus_taken(slurm: SlurmCluster) -> Iterator[None]:
    sleep = ("sbatch", "--parsable", f"--gpus-per-node={GPUS}", "--output=/dev/null", "--wrap=sleep 300")
    blockers = [slurm.run(*sleep).strip() for _ in slurm.nodes]
    try:
        yield
    finally:
        slurm.run("scancel", *blockers)


def in_phase(tuner: Tuner, phase: str) -> bool:
    return any(trial.phase == phase for trial in tuner.trials("jobs") if trial.state is TrialState.RUNNING)


def test_a_study_runs_on_a_cluster_with_two_workers(slurm: SlurmCluster, tuner: Tuner, home: Path) -> None:
    ran = say("run", str(file(home)), "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    trials = tuner.trials("jobs")
    assert [trial.state for trial in trials] == [TrialState.FEASIBLE] * 2
    assert {trial.slot for trial in trials} <= {"slurm-0", "slurm-1"}
    assert slurm.queue() == []


def test_a_study_runs_in_containers(slurm: SlurmCluster, tuner: Tuner, home: Path, container: JsonValue) -> None:
    ran = say("run", str(file(home, apptainer=container)))
    assert ran.returncode == 0, ran.stderr
    assert [trial.state for trial in tuner.trials("jobs")] == [TrialState.FEASIBLE] * 2
    assert slurm.queue() == []


@pytest.mark.parametrize("phase", ["queue", "start_up", "benchmark"])
def test_the_job_of_a_killed_worker_is_found_and_ended(
    slurm: SlurmCluster, tuner: Tuner, home: Path, phase: str
) -> None:
    tuner.create(tuner.validate(file(home, requests=SLOW)))
    with all_gpus_taken(slurm) if phase == "queue" else nullcontext(), process("run", "jobs") as run:
        wait_for(lambda: in_phase(tuner, phase) and jobs(slurm))
        for victim in (psutil.Process(run.pid), *workers(run)):
            os.kill(victim.pid, signal.SIGKILL)
        reaped = say("reap", "jobs")
    assert reaped.returncode == 0, reaped.stderr
    [trial] = [each for each in tuner.trials("jobs") if each.state is TrialState.FAILED]
    assert trial.cause is Cause.WORKER_LOST
    assert jobs(slurm) == []


def test_a_node_that_dies_with_its_server_is_the_machines_fault(slurm: SlurmCluster, tuner: Tuner, home: Path) -> None:
    """The load client sees it at once, and Slurm some seconds later; nobody may blame the configuration meanwhile."""
    tuner.create(tuner.validate(file(home, requests=SLOW, trials=1)))
    with process("run", "jobs") as run:
        wait_for(lambda: in_phase(tuner, "benchmark"))
        [name] = jobs(slurm)
        node = slurm.run("squeue", "--noheader", f"--name={name}", "--format=%N").strip()
        slurm.kill_node(node, with_job=name)
        try:
            wait_for(lambda: run.poll() is not None)
        finally:
            slurm.start_node(node)
            slurm.wait_until_idle()
    first, second = tuner.trials("jobs")
    assert (first.state, first.cause) == (TrialState.FAILED, Cause.NODE_LOST)
    assert second.state is TrialState.FEASIBLE
    assert tuner.study("jobs").state is StudyState.DONE


def test_an_exported_script_is_a_job_that_serves(slurm: SlurmCluster, tmp_path: Path) -> None:
    deployer: dict[str, JsonValue] = {"kind": "slurm", "partition": "main", "gpus_per_node": "h100:1"}
    ended = ended_study({"kind": "fake"}, Params(flags={"ttft_ms": 5}), TWO_CORES, deployer=deployer)
    [port] = free_ports(1)
    script = tmp_path / "serve.sbatch"
    script.write_text(export(ended, Export(form=Format.SBATCH, port=port)))
    job = slurm.run("sbatch", "--parsable", f"--chdir={tmp_path}", str(script)).strip()
    try:
        wait_for(lambda: models_at(port) == ["tiny"])
        assert slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%j %P").split() == [
            "my-study-trial-2",
            "main",
        ]
    finally:
        slurm.run("scancel", job)


def test_a_whole_worker_runs_inside_an_allocation(slurm: SlurmCluster, tuner: Tuner, home: Path) -> None:
    """The script of the documentation: servers are processes of the job's own node."""
    path = file(home, trials=1)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "deployer": {"kind": "local"}}))
    tools = f"PATH={Path(COMMAND).parent}:{os.environ['PATH']}"
    told = ("--wait", f"--export=ALL,{tools}", f"--output={home.parent}/worker.log", "--gres=gpu:1")
    slurm.run("sbatch", *told, str(SCRIPT), str(path))
    assert tuner.study("jobs").state is StudyState.DONE, (home.parent / "worker.log").read_text()
