"""What OME's BenchmarkJob is told, what it cannot be told, and which of its traps are kept away from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from optuna_tuner.client_site import Program
from optuna_tuner.deployers.load_client.request import Loaded
from optuna_tuner.deployers.ome.benchmark_options import BenchmarkJobOptions
from optuna_tuner.deployers.ome.benchmark_request import job_of
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.errors import DeployerError, SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.study import StudySpec

JOB: dict[str, JsonValue] = {"claim": "results", "reader_image": "python:3.12-slim"}
SERVER = Loaded(name="tuner-a1", labels={"attempt": "a1"}, owner={"kind": "InferenceService", "name": "tuner-a1"})
ARGV = (
    *("genai-bench", "benchmark", "--api-base", "http://x", "--model-tokenizer", "/m", "--task", "text-to-text"),
    *("--traffic-scenario", "N(480,240)/(300,150)", "--num-concurrency", "4", "--num-concurrency", "16"),
    *("--max-time-per-run", "2", "--max-requests-per-run", "64", "--additional-request-params", "{}"),
)


def options(**said: JsonValue) -> OmeOptions:
    known: dict[str, JsonValue] = {
        "clusterbasemodel_config": {"name": "llama"},
        "clusterservingruntime_config": {"name": "theirs"},
        "gpus": 1,
    }
    return OmeOptions.model_validate({**known, "benchmark_job": {**JOB, **said}})


def sent(argv: tuple[str, ...] = ARGV, run: str = "genai-bench-1", **said: JsonValue) -> dict[str, Any]:
    return job_of(Program(argv=argv), run, SERVER, options(**said))


def read(**said: JsonValue) -> StudySpec:
    document: dict[str, JsonValue] = {
        "name": "of-ome",
        "model": {"name": "vllm-model", "path": "hub/m"},
        "engine": {"kind": "vllm", "version": "0.33.0"},
        "deployer": {**options().model_dump(mode="json", exclude_defaults=True), "kind": "ome"},
        "benchmark": {"kind": "genai_bench", "scenario": "D(8,8)", "concurrency": [1]},
        "space": {"max_num_seqs": {"type": "int", "low": 1, "high": 2}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
    }
    return parse_study(json.dumps({**document, **said}), "of-ome.json", InstalledKinds())


def test_what_it_has_a_place_for_is_told() -> None:
    spec = sent()["spec"]
    assert spec["endpoint"] == {"inferenceService": {"name": "tuner-a1", "namespace": "default"}}
    assert (spec["task"], spec["trafficScenarios"]) == ("text-to-text", ["N(480,240)/(300,150)"])
    assert (spec["numConcurrency"], spec["maxTimePerIteration"], spec["maxRequestsPerIteration"]) == ([4, 16], 2, 64)
    assert spec["outputLocation"] == {"storageUri": "pvc://results/optuna-tuner"}


def test_each_run_has_a_name_and_a_folder_of_its_own_since_one_that_is_there_is_never_changed() -> None:
    for run in ("genai-bench-1", "genai-bench-2"):
        job = sent(run=run)
        assert job["metadata"]["name"] == job["spec"]["resultFolderName"] == f"tuner-a1-{run}"


def test_something_of_its_pod_is_always_overridden_so_that_its_container_is_called_genai_bench() -> None:
    assert sent()["spec"]["podOverride"] == {
        "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
    }


def test_gpus_that_its_list_does_not_know_and_what_reaches_nobody_are_not_told() -> None:
    assert {"serviceMetadata", "additionalRequestParams", "dataset", "huggingFaceSecretReference"}.isdisjoint(
        sent()["spec"]
    )


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        ((*ARGV[:-1], '{"ignore_eos": true}'), "gives the request parameters of a BenchmarkJob to nobody"),
        (("measure", "it"), "runs genai-bench alone"),
        ((*ARGV, "--num-workers", "4"), "cannot be told --num-workers"),
    ],
)
def test_what_it_cannot_be_told_is_refused(argv: tuple[str, ...], why: str) -> None:
    with pytest.raises(DeployerError, match=why):
        sent(argv)


@pytest.mark.parametrize("folder", ["/abs", "a/../b", "", "a//b"])
def test_a_folder_that_is_none_of_the_claim_is_refused(folder: str) -> None:
    with pytest.raises(ValidationError, match="must be a path in the claim"):
        BenchmarkJobOptions.model_validate({**JOB, "folder": folder})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"benchmark": {"kind": "script", "command": "x", "metrics": "m"}}, "runs genai-bench alone"),
        (
            {
                "benchmark": {
                    "kind": "genai_bench",
                    "scenario": "D(8,8)",
                    "concurrency": [1],
                    "additional_params": {"ignore_eos": True},
                }
            },
            "benchmark.additional_params: OME gives the request parameters",
        ),
        (
            {"benchmark": {"kind": "genai_bench", "scenario": ["D(8,8)", "D(8,8)"], "concurrency": [1]}},
            "takes each scenario once",
        ),
        ({"model": {"name": "llama", "path": "hub/m"}}, 'model.name: must be "vllm-model"'),
    ],
)
def test_a_study_that_a_benchmark_job_cannot_keep_is_refused_when_it_is_read(
    said: dict[str, JsonValue], why: str
) -> None:
    with pytest.raises(SpecError, match=why):
        read(**said)


def test_a_study_that_it_can_keep_is_taken_also_by_an_engine_that_ignores_names() -> None:
    assert read().deployer.kind == "ome"
    sglang: JsonValue = {"kind": "sglang", "version": "0.5.23"}
    space: JsonValue = {"max_running_requests": {"type": "int", "low": 1, "high": 2}}
    assert read(engine=sglang, space=space, model={"name": "llama", "path": "hub/m"}).model.name == "llama"


def test_there_is_one_way_or_the_other() -> None:
    known = options().model_dump(mode="json")
    with pytest.raises(ValidationError, match="there is a load_client: keep one of them"):
        OmeOptions.model_validate({**known, "load_client": {"image": "ours:1"}})
