from __future__ import annotations

import json
from pathlib import Path

import pytest
from spec_kinds import NamedKinds

from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import load_study, parse_study, read_task
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.spec.task_json import is_task
from optuna_tuner.spec.writing import to_yaml
from optuna_tuner.values import Json

TASK: dict[str, Json] = {
    "task_name": "bayesian-llama3-tune",
    "description": "Bayesian optimization for Llama 3.2-1B",
    "model": {"id_or_path": "llama-3-2-1b-instruct", "namespace": "autotuner"},
    "base_runtime": "sglang",
    "runtime_image_tag": "v0.5.2-cu126",
    "parameters": {"tp-size": [1, 2], "enable-mixed-chunk": [True, False], "schedule-policy": ["lpm", "fcfs"]},
    "optimization": {
        "strategy": "bayesian",
        "objective": "minimize_latency",
        "max_iterations": 30,
        "timeout_per_iteration": 600,
    },
    "benchmark": {
        "task": "text-to-text",
        "model_name": "Llama-3.2-1B-Instruct",
        "model_tokenizer": "meta-llama/Llama-3.2-1B-Instruct",
        "traffic_scenarios": ["D(100,100)", "D(10,10)"],
        "num_concurrency": [4, 8],
        "max_time_per_iteration": 30,
        "max_requests_per_iteration": 100,
        "additional_params": {"temperature": 0.0},
    },
    "deployment_mode": "docker",
}


def read(task: dict[str, Json]) -> StudySpec:
    return read_task(json.dumps(task, indent=2), "task.json", NamedKinds())


def changed(section: str, **changes: Json) -> dict[str, Json]:
    old = TASK[section]
    assert isinstance(old, dict)
    return {**TASK, section: {**old, **changes}}


def test_a_task_is_told_from_a_study() -> None:
    assert is_task(TASK)
    assert not is_task({"name": "chat", "engine": {"kind": "vllm"}})
    assert not is_task(["task_name"])


def test_models_and_runtimes_belong_to_ome_alone() -> None:
    configs: dict[str, Json] = {
        "clusterbasemodel_config": {"preset": "llama-3-2-1b", "overrides": {"maxTokens": 8192}},
        "clusterservingruntime_config": {"preset": "sglang-llama-small"},
    }
    assert read({**TASK, **configs}).deployer.options == {}
    known = read_task(json.dumps({**TASK, **configs, "deployment_mode": "ome"}), "task.json", InstalledKinds())
    assert known.deployer.options == {"namespace": "autotuner", **configs}


def test_what_is_wrong_with_a_model_of_ome_has_its_place_in_the_task() -> None:
    wrong: dict[str, Json] = {**TASK, "deployment_mode": "ome", "clusterbasemodel_config": {"preset": "llama"}}
    with pytest.raises(SpecError, match=r"task.json:\d+:\d+: clusterbasemodel_config.preset: no ClusterBaseModel has"):
        read_task(json.dumps(wrong), "task.json", InstalledKinds())


def test_each_key_of_a_task_has_its_place_in_the_study() -> None:
    spec = read(TASK)
    assert spec.name == "bayesian-llama3-tune"
    assert spec.model.model_dump() == {
        "name": "Llama-3.2-1B-Instruct",
        "path": "llama-3-2-1b-instruct",
        "tokenizer": "meta-llama/Llama-3.2-1B-Instruct",
    }
    assert (spec.engine.kind, spec.deployer.kind) == ("sglang", "docker")
    assert spec.engine.options == {"version": "0.5.2", "image": "lmsysorg/sglang:v0.5.2-cu126"}
    assert spec.benchmark.kind == "genai_bench"
    assert spec.benchmark.options == {
        "scenario": ["D(100,100)", "D(10,10)"],
        "concurrency": [4, 8],
        "requests": 100,
        "max_time_s": 1800,
        "additional_params": {"temperature": 0.0},
    }
    assert {name: parameter.values() for name, parameter in spec.space.items()} == {
        "tp_size": (1, 2),
        "enable_mixed_chunk": (False, True),
        "schedule_policy": ("lpm", "fcfs"),
    }
    assert (spec.sampler.kind, spec.budget.trials) == ("tpe", 30)
    assert (spec.limits.startup_s, spec.limits.benchmark_s) == (600, 600)
    assert not spec.baseline


@pytest.mark.parametrize(
    ("objective", "metric", "direction", "level"),
    [
        ("minimize_latency", "e2e_latency_ms.mean", "minimize", "mean"),
        ("maximize_throughput", "total_throughput_tok_s", "maximize", "best"),
        ("minimize_ttft", "ttft_ms.mean", "minimize", "mean"),
        ("minimize_tpot", "tpot_ms.mean", "minimize", "mean"),
    ],
)
def test_each_objective_is_a_metric(objective: str, metric: str, direction: str, level: str) -> None:
    goals = read(changed("optimization", objective=objective)).goals
    assert [(goal.metric, goal.direction) for goal in goals.objectives] == [(metric, direction)]
    assert goals.level == level


@pytest.mark.parametrize(
    ("strategy", "sampler", "trials"), [("grid_search", "grid", 8), ("random", "random", 30), ("bayesian", "tpe", 30)]
)
def test_a_grid_ends_when_it_is_measured(strategy: str, sampler: str, trials: int) -> None:
    spec = read(changed("optimization", strategy=strategy))
    assert (spec.sampler.kind, spec.budget.trials) == (sampler, trials)


def test_a_task_file_is_read_where_a_study_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    assert load_study(tmp_path / "task.json", NamedKinds()) == read(TASK)


def test_a_converted_task_is_the_same_study() -> None:
    assert parse_study(to_yaml(read(TASK)), "study.yaml", NamedKinds()) == read(TASK)


def test_a_study_is_no_task() -> None:
    with pytest.raises(SpecError, match="base_runtime: missing; this key is required"):
        read_task("name: chat", "task.json", NamedKinds())


def test_the_runtime_may_be_named_by_its_whole_image() -> None:
    spec = read({**TASK, "runtime_image_tag": "registry.local/sglang:dev"})
    assert spec.engine.options == {"image": "registry.local/sglang:dev"}
