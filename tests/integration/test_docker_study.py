"""Whole studies in containers of a real Docker daemon, from the command line; and workers that die over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dockers import IMAGE, DockerDaemon
from runs import PATIENCE_S, SLOW, measuring, process, say, study, wait_for, workers

from optuna_tuner import Tuner
from optuna_tuner.results.trials import TrialState
from optuna_tuner.spec.study import Budget, StudySpec
from optuna_tuner.spec.writing import to_yaml
from optuna_tuner.values import Cause

pytestmark = pytest.mark.usefixtures("nothing_is_left")
FOR_EVER_S = 3600


@pytest.fixture
def nothing_is_left(docker_daemon: DockerDaemon) -> Iterator[None]:
    yield
    assert docker_daemon.containers() == []


def in_containers(daemon: DockerDaemon, name: str, *, requests: int = 2, **flags: object) -> StudySpec:
    engine = {"kind": "fake", "image": IMAGE, "flags": {"ttft_ms": 5, **flags}}
    return study(name, requests=requests, engine=engine, deployer={"kind": "docker", **daemon.options})


@pytest.mark.embedded
def test_llama_cpp_is_tuned_in_containers(docker_daemon: DockerDaemon, tuner: Tuner, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the embedded server is not installed")
    spec = study(
        "llama",
        model={"name": "small", "path": "builtin"},
        engine={"kind": "llama_cpp", "image": IMAGE, "flags": {"ctx_size": 1024}},
        deployer={"kind": "docker", **docker_daemon.options},
        space={"parallel": {"type": "choice", "choices": [1]}},
    )
    file = tmp_path / "study.yaml"
    file.write_text(to_yaml(spec))
    done = say("run", str(file))
    assert done.returncode == 0, done.stderr
    assert [trial.state for trial in tuner.trials("llama")] == [TrialState.FEASIBLE] * 2
    assert tuner.trial("llama", 1).effective_config["parallel"] == 1


def test_a_server_that_does_not_start_in_its_container_is_the_configurations_fault(
    docker_daemon: DockerDaemon, tuner: Tuner
) -> None:
    spec = in_containers(docker_daemon, "full", misbehave="out_of_memory")
    tuner.create(spec.model_copy(update={"budget": Budget(trials=1)}))
    assert say("run", "full").returncode == 1
    assert [trial.cause for trial in tuner.trials("full")] == [Cause.OUT_OF_MEMORY_POOL]
    assert "fake: out of memory" in "".join(tuner.logs("full", 0))


def test_what_a_killed_worker_leaves_is_taken_back(docker_daemon: DockerDaemon, tuner: Tuner) -> None:
    tuner.create(in_containers(docker_daemon, "slow", start_s=FOR_EVER_S))
    with process("run", "slow") as run:
        wait_for(docker_daemon.containers)
        for each in (psutil.Process(run.pid), *workers(run)):
            each.kill()
    assert len(docker_daemon.containers()) == 1
    reaped = say("reap", "slow")
    assert reaped.returncode == 0, reaped.stderr
    assert docker_daemon.containers() == []
    assert [trial.state for trial in tuner.trials("slow")] == [TrialState.FAILED, TrialState.QUEUED]


def test_the_next_worker_ends_what_a_killed_one_left(docker_daemon: DockerDaemon, tuner: Tuner) -> None:
    def others() -> set[str]:
        return {words.split()[0] for words in docker_daemon.containers()} - left

    left: set[str] = set()
    tuner.create(in_containers(docker_daemon, "again", requests=SLOW * 10))
    with process("worker", "again") as worker:
        wait_for(lambda: measuring(tuner, "again"))
        worker.kill()
    left = others()
    assert len(left) == 1
    with process("worker", "again") as worker:
        wait_for(others)
        assert len(docker_daemon.containers()) == 1
        worker.terminate()
        worker.wait(PATIENCE_S)
