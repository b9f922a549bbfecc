"""The older task format: read as the study that it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field, JsonValue, ValidationError, model_validator

from optuna_tuner.errors import SpecError
from optuna_tuner.spec.faults import faults_of
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.spec.space import STRICT
from optuna_tuner.spec.yaml_nodes import Path, Tree
from optuna_tuner.values import Json, Scalar

SECONDS_PER_MINUTE = 60  # that format counts the time of one benchmark run in minutes

_SAMPLERS = {"grid_search": "grid", "random": "random", "bayesian": "tpe"}
_OBJECTIVES: Mapping[str, tuple[str, str, str]] = {  # metric, direction, and how levels become one score
    "minimize_latency": ("e2e_latency_ms.mean", "minimize", "mean"),
    "maximize_throughput": ("total_throughput_tok_s", "maximize", "best"),
    "minimize_ttft": ("ttft_ms.mean", "minimize", "mean"),
    "minimize_tpot": ("tpot_ms.mean", "minimize", "mean"),
}
_OF_OME = ("clusterbasemodel_config", "clusterservingruntime_config")
_ORIGINS: Mapping[Path, Path] = {  # path in the study -> path in the task
    ("name",): ("task_name",),
    **{("deployer", name): (name,) for name in _OF_OME},
    ("engine",): ("base_runtime",),
    ("engine", "kind"): ("base_runtime",),
    ("engine", "version"): ("runtime_image_tag",),
    ("engine", "image"): ("runtime_image_tag",),
    ("model", "path"): ("model", "id_or_path"),
    ("model", "name"): ("benchmark", "model_name"),
    ("model", "tokenizer"): ("benchmark", "model_tokenizer"),
    ("deployer",): ("deployment_mode",),
    ("deployer", "kind"): ("deployment_mode",),
    ("deployer", "namespace"): ("model", "namespace"),
    ("benchmark", "scenario"): ("benchmark", "traffic_scenarios"),
    ("benchmark", "concurrency"): ("benchmark", "num_concurrency"),
    ("benchmark", "requests"): ("benchmark", "max_requests_per_iteration"),
    ("benchmark", "max_time_s"): ("benchmark", "max_time_per_iteration"),
    ("benchmark", "additional_params"): ("benchmark", "additional_params"),
    ("goals",): ("optimization", "objective"),
    ("sampler",): ("optimization", "strategy"),
    ("budget",): ("optimization", "max_iterations"),
    ("limits",): ("optimization", "timeout_per_iteration"),
    ("space",): ("parameters",),
}


class TaskModel(BaseModel):
    """The model to serve, by the name that the runtime knows."""

    model_config = STRICT

    name: str | None = Field(default=None, min_length=1)
    id_or_path: str | None = Field(default=None, min_length=1)
    namespace: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> TaskModel:
        if (self.name is None) == (self.id_or_path is None):
            refuse([Misfit((), "needs name or id_or_path, and not both")])
        return self


class Optimization(BaseModel):
    """How the search goes. The time-out is for start-up and benchmark of one experiment, in seconds."""

    model_config = STRICT

    strategy: Literal["grid_search", "random", "bayesian"] = "grid_search"
    objective: Literal["minimize_latency", "maximize_throughput", "minimize_ttft", "minimize_tpot"]
    max_iterations: int = Field(default=100, ge=1)
    timeout_per_iteration: float = Field(default=600, gt=0)


class TaskBenchmark(BaseModel):
    """What genai-bench is told."""

    model_config = STRICT

    task: Literal["text-to-text"] = "text-to-text"
    model_name: str = Field(min_length=1)
    model_tokenizer: str = Field(min_length=1)
    traffic_scenarios: list[str] = Field(min_length=1)
    num_concurrency: list[int] = Field(min_length=1)
    max_time_per_iteration: int = Field(default=10, ge=1, description="Minutes.")
    max_requests_per_iteration: int = Field(default=50, ge=1)
    additional_params: Mapping[str, JsonValue] = Field(default_factory=dict)


class Task(BaseModel):
    """A file in the older task format."""

    model_config = STRICT

    task_name: str
    description: str = ""
    model: TaskModel
    base_runtime: str
    runtime_image_tag: str | None = None
    parameters: Mapping[str, list[Scalar]] = Field(min_length=1)
    optimization: Optimization
    benchmark: TaskBenchmark
    deployment_mode: str = "local"
    clusterbasemodel_config: Mapping[str, JsonValue] | None = None
    clusterservingruntime_config: Mapping[str, JsonValue] | None = None


def is_task(document: Json) -> bool:
    """Whether a document is in the older task format rather than a study file."""
    return isinstance(document, dict) and "name" not in document and bool({"task_name", "base_runtime"} & set(document))


def tree_of_task(tree: Tree) -> Tree:
    """The study that a task means, with the places of the task. Raises SpecError with every fault of the task."""
    try:
        task = Task.model_validate(tree.value)
    except ValidationError as error:
        raise SpecError([*tree.faults, *faults_of(error, tree, Task)]) from error
    parameters: dict[Path, Path] = {("space", name, "choices"): ("parameters", name) for name in task.parameters}
    origins = {**_ORIGINS, **parameters}
    if task.model.name:
        origins["model", "path"] = ("model", "name")
    return Tree(
        file=tree.file, value=_study(task), values=tree.values, keys=tree.keys, origins=origins, faults=tree.faults
    )


def _study(task: Task) -> Json:
    timeout = task.optimization.timeout_per_iteration
    study: dict[str, Json] = {
        "name": task.task_name,
        "description": task.description,
        "model": {
            "name": task.benchmark.model_name,
            "path": task.model.id_or_path or task.model.name,
            "tokenizer": task.benchmark.model_tokenizer,
        },
        "engine": _engine(task),
        "deployer": _deployer(task),
        "benchmark": _benchmark(task.benchmark),
        "space": {name: _parameter(values) for name, values in task.parameters.items()},
        "goals": _goals(task.optimization.objective),
        "sampler": {"kind": _SAMPLERS[task.optimization.strategy]},
        "budget": {"trials": _trials(task)},
        "limits": {"startup_s": timeout, "benchmark_s": timeout},
        "baseline": False,  # that format measures the listed configurations and nothing else
    }
    return study


def _trials(task: Task) -> int:
    """The iterations, or the size of the grid where that is smaller."""
    size = 1
    for values in task.parameters.values():
        size *= max(1, len(values))
    grid = task.optimization.strategy == "grid_search"
    return min(size, task.optimization.max_iterations) if grid else task.optimization.max_iterations


def _engine(task: Task) -> dict[str, Json]:
    engine: dict[str, Json] = {"kind": task.base_runtime}
    tag = task.runtime_image_tag
    if tag is None:
        return engine
    images = {"sglang": "lmsysorg/sglang", "vllm": "vllm/vllm-openai"}  # where that format's tags come from
    if "/" in tag or ":" in tag:
        return {**engine, "image": tag}
    version = tag.removeprefix("v").split("-")[0]
    image = images.get(task.base_runtime)
    return {**engine, "version": version, **({"image": f"{image}:{tag}"} if image else {})}


def _deployer(task: Task) -> dict[str, Json]:
    """Only a cluster knows namespaces, and only OME models and runtimes; elsewhere that format carries them in vain."""
    clusters = {"ome", "kubernetes"}
    deployer: dict[str, Json] = {"kind": task.deployment_mode}
    if task.deployment_mode in clusters and task.model.namespace:
        deployer["namespace"] = task.model.namespace
    configs = {name: getattr(task, name) for name in _OF_OME}
    said = {name: dict(value) for name, value in configs.items() if value is not None}
    return {**deployer, **said} if task.deployment_mode == "ome" else deployer


def _benchmark(benchmark: TaskBenchmark) -> dict[str, Json]:
    options: dict[str, Json] = {
        "kind": "genai_bench",
        "scenario": list(benchmark.traffic_scenarios),
        "concurrency": list(benchmark.num_concurrency),
        "requests": benchmark.max_requests_per_iteration,
        "max_time_s": benchmark.max_time_per_iteration * SECONDS_PER_MINUTE,
    }
    if benchmark.additional_params:
        options["additional_params"] = dict(benchmark.additional_params)
    return options


def _parameter(values: list[Scalar]) -> dict[str, Json]:
    if len(values) > 1 and all(isinstance(value, bool) for value in values) and set(values) == {True, False}:
        return {"type": "switch"}
    return {"type": "choice", "choices": list(values)}


def _goals(objective: str) -> dict[str, Json]:
    metric, direction, level = _OBJECTIVES[objective]
    return {"objectives": [{"metric": metric, "direction": direction}], "level": level}
