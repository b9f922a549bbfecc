"""What `run.json` says of the server's image, of its GPUs and driver, and of a run that did not end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import JsonValue
from reported import bench_study
from take_home import TWO_CORES, TWO_GPUS, ended_study

from optuna_tuner.results.bundle.describing import Source
from optuna_tuner.results.bundle.run import Run
from optuna_tuner.results.bundle.writing import write_trial
from optuna_tuner.store.artifacts import MACHINE_FILE
from optuna_tuner.values import Handle, Params, Slot

TAG, DIGEST = "vllm/vllm-openai:v0.34.0", f"sha256:{'ab' * 32}"
MACHINE = {"driver": "570.86", "gpus": [{"uuid": "GPU-1", "name": "NVIDIA L40S", "memory_mib": 46068}]}


def run_of(
    tmp_path: Path,
    *,
    image: str = TAG,
    seen: str = "",
    slot: Slot = TWO_CORES,
    url: str = "",
) -> Run:
    engine = {"kind": "vllm", "image": image}
    deployer: JsonValue = {"kind": "running", "url": url} if url else {"kind": "docker"}
    study = ended_study(engine, Params(flags={"max_num_seqs": 64}), slot, deployer=deployer)
    handle = Handle(deployer="docker", name="tuner-1", ref={"container": "c", **({"image": seen} if seen else {})})
    source = Source(study=study, trial=study.trial(2), folder=tmp_path / "trial", handle=handle)
    return write_trial(source, tmp_path / "bundle")


@pytest.mark.parametrize(("image", "seen"), [(TAG, DIGEST), (f"vllm/vllm-openai@{DIGEST}", "")])
def test_the_digest_is_what_the_deployer_saw_else_what_the_study_names(tmp_path: Path, image: str, seen: str) -> None:
    run = run_of(tmp_path, image=image, seen=seen)
    assert (run.engine.image, run.engine.image_digest) == (image, DIGEST)
    assert not any("digest" in each for each in run.missing)


def test_a_digest_that_nobody_told_is_missing(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert run.engine.image_digest is None
    assert f"what {TAG} was: the deployer did not tell its digest, and the study names none" in run.missing


def test_gpus_and_driver_are_those_that_the_worker_wrote_down(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / MACHINE_FILE).write_text(json.dumps(MACHINE))
    run = run_of(tmp_path, slot=TWO_GPUS)
    assert run.place.gpu_uuids == TWO_GPUS.gpus
    assert run.place.machine == MACHINE
    assert not any("driver" in each for each in run.missing)


def test_gpus_without_nvml_are_said_to_be_untold(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / MACHINE_FILE).write_text(json.dumps({"host": "node-a"}))
    assert "GPU and driver: NVML did not tell them (optuna-tuner[gpu])" in run_of(tmp_path, slot=TWO_GPUS).missing


def test_a_server_that_ran_already_has_gpus_that_nobody_here_knows(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / MACHINE_FILE).write_text(json.dumps(MACHINE))
    run = run_of(tmp_path, url="http://127.0.0.1:8000")
    assert "GPUs and driver of the server: it ran already, and nobody here gave it any" in run.missing


def test_a_run_that_was_stopped_says_that_loads_are_missing(tmp_path: Path) -> None:
    study = bench_study(measured=8)
    run = write_trial(Source(study=study, trial=study.trial(0), folder=tmp_path, handle=None), tmp_path / "bundle")
    assert len(run.levels) == 8
    assert "loads after the last of levels: trial 0 is stopped: asked to stop" in run.missing
