"""A whole study on simulated servers, from the command line: it says what it is, and each failure has its cause."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Done = subprocess.CompletedProcess[str]
PROGRAM = str(Path(sys.executable).parent / "optuna-tuner")
SHIPPED = Path(__file__).parents[2] / "studies" / "simulated-vllm.yaml"


@pytest.fixture
def optuna_tuner(tmp_path: Path) -> Callable[..., Done]:
    study = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    study["engine"]["startup_s"] = 0.0
    study["benchmark"] |= {"scenario": "D(64,8)", "concurrency": [2], "requests": 6, "warm_up_requests": 1}
    study["first"] = [
        {"gpu_memory_utilization": 0.4},
        {"gpu_memory_utilization": 0.99, "max_num_batched_tokens": 16384},
    ]
    study["budget"] = {"trials": 3}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPTUNA_TUNER_", "NO_COLOR"))}

    def run(*words: str) -> Done:
        return subprocess.run(
            [PROGRAM, *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=kept | {"OPTUNA_TUNER_HOME": str(tmp_path / "home")},
            timeout=200,
        )

    return run


def test_a_study_of_simulated_servers_runs_to_its_end_and_never_hides_what_it_is(
    optuna_tuner: Callable[..., Done], tmp_path: Path
) -> None:
    assert "SIMULATED: a model of vllm" in optuna_tuner("plan", "study.yaml").stdout
    ran = optuna_tuner("run", "study.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "SIMULATED: a model of vllm" in ran.stdout
    study = json.loads(optuna_tuner("results", "simulated-vllm", "--format", "json").stdout)
    assert study["notice"].startswith("SIMULATED")
    assert [trial["cause"] for trial in study["trials"]] == [None, "out_of_memory_pool", "out_of_memory_runtime"]
    assert study["trials"][0]["remarks"] == ["simulated, not measured: a model of vllm"]
    assert optuna_tuner("report", "simulated-vllm", "-o", "report.json").returncode == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["warnings"][0].startswith("SIMULATED")
    assert report["summary"]["decision"] == "rehearsal"
    assert [issue["what"] for issue in report["summary"]["issues"]] == ["out_of_memory_pool", "out_of_memory_runtime"]
