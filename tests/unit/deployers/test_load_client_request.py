"""A load client in the cluster: what may be said of it, and what is sent."""

from __future__ import annotations

import ast
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from optuna_tuner.client_site import Program
from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.load_client.in_pod import begin_of
from optuna_tuner.deployers.load_client.options import LoadClient
from optuna_tuner.deployers.load_client.request import Loaded, body_of, script
from optuna_tuner.errors import DeployerError, SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.study import StudySpec

OWNER: dict[str, JsonValue] = {"apiVersion": "batch/v1", "kind": "Job", "name": "tuner-a1", "uid": "u-1"}
SERVER = Loaded(name="tuner-a1", labels={"attempt": "a1"}, owner=OWNER, model="meta/llama", url="http://10.0.0.7:8000")
PROGRAM = Program(argv=("measure", "$(HOME)"), files={"prompts.json": "[]"})


def sent(program: Program = PROGRAM, run: str = "script-1", **client: JsonValue) -> dict[str, Any]:
    options = ClusterOptions.model_validate({"load_client": {"image": "ours:1", **client}})
    return body_of(program, run, SERVER, options, limit_s=3600).model_dump(mode="json")


def read(**said: JsonValue) -> StudySpec:
    document: dict[str, JsonValue] = {
        "name": "near",
        "model": {"name": "m", "path": "/models/m"},
        "engine": {"kind": "fake", "image": "engine:1"},
        "deployer": {
            "kind": "kubernetes",
            "load_client": {"image": "ours:1", "volumes": [{"claim": "models", "target": "/models"}]},
        },
        "benchmark": {"kind": "genai_bench", "scenario": "D(8,8)", "concurrency": [1]},
        "space": {"itl_ms": {"type": "float", "low": 1.0, "high": 2.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
    }
    return parse_study(json.dumps({**document, **said}, indent=1), "near.json", InstalledKinds())


def test_its_job_goes_with_the_server_ends_by_itself_and_is_tried_once() -> None:
    job = sent(start_s=100)["job"]
    assert job["metadata"]["ownerReferences"] == [OWNER]
    assert job["metadata"]["labels"]["optuna-tuner/server"] == "tuner-a1"
    assert job["spec"]["activeDeadlineSeconds"] == 100 + 3600 + 300
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)


def test_what_the_program_reads_goes_with_its_job_and_a_dollar_stays_a_dollar() -> None:
    body = sent()
    [files] = body["owned"]
    assert files["data"] == {"in_pod.py": script(), "prompts.json": "[]"}
    assert files["metadata"]["name"] == body["job"]["metadata"]["name"] == "tuner-a1-script-1"
    assert body["job"]["spec"]["template"]["spec"]["containers"][0]["command"][-2:] == ["measure", "$$(HOME)"]


def test_what_can_only_be_read_through_a_forward_listens_on_loopback() -> None:
    def host(reach: str) -> str:
        options = ClusterOptions.model_validate({"reach": reach, "load_client": {"image": "ours:1"}})
        job = body_of(PROGRAM, "script-1", SERVER, options, 1).model_dump(mode="json")["job"]
        return str(job["spec"]["template"]["spec"]["containers"][0]["command"][2])

    assert (host("port-forward"), host("service")) == ("127.0.0.1", "0.0.0.0")  # noqa: S104  of a pod


@pytest.mark.parametrize(
    ("program", "run", "why"),
    [
        (Program(argv=("a\0",)), "script-1", "NUL character"),
        (Program(argv=("a",), files={"x": "y" * 1_000_001}), "script-1", "reads 1000001 bytes; 1000000 go"),
        (PROGRAM, "r" * 60, "the load client's name has 69 characters"),
    ],
)
def test_what_cannot_be_sent_is_refused(program: Program, run: str, why: str) -> None:
    with pytest.raises(DeployerError, match=why):
        sent(program, run)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"image": ""}, "is no name of an image"),
        ({"patch": {"spec": {"backoffLimit": 3}}}, "spec.backoffLimit may not be patched"),
        ({"patch": {"metadata": {"ownerReferences": []}}}, "metadata.ownerReferences may not be patched"),
        (
            {"patch": {"spec": {"template": {"spec": {"containers": [{"name": "client", "command": ["x"]}]}}}}},
            "containers.client.command may not be patched",
        ),
        (
            {"volumes": [{"claim": "a", "target": "/m"}, {"claim": "b", "target": "/m"}]},
            "two volumes have the target /m",
        ),
    ],
)
def test_what_may_not_be_said_of_it_is_refused(said: dict[str, JsonValue], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        LoadClient.model_validate({"image": "ours:1", **said})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"benchmark": {"kind": "http", "scenario": "D(8,8)", "concurrency": [1]}}, "take genai_bench or script"),
        (
            {
                "benchmark": {
                    "kind": "genai_bench",
                    "scenario": "D(8,8)",
                    "concurrency": {"search": "max", "low": 1, "high": 8},
                },
                "goals": {
                    "objectives": [{"metric": "sustained_concurrency", "direction": "maximize"}],
                    "constraints": [{"metric": "ttft_ms.p99", "at_most": 500}],
                },
            },
            "searched by the built-in client, which runs in the worker",
        ),
        ({"model": {"name": "m", "path": "/elsewhere/m"}}, "the load client does not see the tokenizer /elsewhere/m"),
        ({"model": {"name": "m", "path": "/models/m", "tokenizer": "/t"}}, "does not see the tokenizer /t"),
    ],
)
def test_a_study_whose_client_cannot_run_there_is_refused_when_it_is_read(said: dict[str, JsonValue], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        read(**said)


def test_a_study_whose_client_can_run_there_is_taken() -> None:
    assert read(model={"name": "m", "path": "/models/m", "tokenizer": "hub/m"}).benchmark.kind == "genai_bench"


def test_what_runs_in_the_pod_is_python_3_8_and_imports_nothing_of_ours() -> None:
    tree = ast.parse(script(), feature_version=(3, 8))
    names = [each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    assert not [name for name in names if (name or "").startswith("optuna_tuner")]


def test_what_is_here_already_is_not_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one two three")
    file = os.open(path, os.O_RDONLY)
    assert begin_of(file, 3, str(zlib.crc32(b"one"))) == 3
    assert begin_of(file, 3, str(zlib.crc32(b"oNe"))) == 0, "another beginning"
    assert begin_of(file, 99, str(zlib.crc32(b"one two three"))) == 0, "a file that became shorter"
    os.close(file)
