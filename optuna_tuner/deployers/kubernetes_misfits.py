"""What a study file says elsewhere that does not go with its options for Kubernetes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from optuna_tuner.deployers.container_words import image_problem, path_problem
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.deployers.load_client.misfits import Misfit
from optuna_tuner.deployers.load_client.misfits import misfits as client_misfits
from optuna_tuner.spec.study import Limits
from optuna_tuner.values import Json


def misfits(study: Mapping[str, Json], options: KubernetesOptions) -> Iterator[Misfit]:
    """The path of each value that does not fit, and why."""
    engine, model = _mapping(study.get("engine")), _mapping(study.get("model"))
    image = image_problem(engine.get("image"), "kubernetes")
    if engine and image:
        yield ("engine", "image") if "image" in engine else ("engine",), image
    path = model.get("path")
    problem = model_problem(path) if isinstance(path, str) else None
    if problem:
        yield ("model", "path"), problem
    yield from client_misfits(study, options)
    yield from _time(study, options)


def model_problem(path: str) -> str | None:
    """Why this is no path in a container; None for one, and for the id of a model on a hub."""
    if path.startswith(("/", "./", "../", "~")) or "/../" in path or path in {".", ".."}:
        problem = path_problem(path.rstrip("/"))
        return f"{problem}: it is the path in the container, below the target of a volume" if problem else None
    return None


def _time(study: Mapping[str, Json], options: KubernetesOptions) -> Iterator[Misfit]:
    """A Job that is ended by its deadline looks like a failing machine, and would be tried again."""
    try:
        limits = Limits.model_validate(study.get("limits", {}))
    except ValidationError:  # told by others
        return
    asked_s = limits.quality_s if study.get("quality") else 0.0
    asked_s += options.load_client.start_s if options.load_client else 0.0
    trial_s = limits.queue_s + limits.startup_s + limits.warm_up_s + asked_s + limits.benchmark_s + limits.teardown_s
    if options.max_life_s < trial_s:
        reason = f"a Job ends after {options.max_life_s} s, and the study's limits give a trial {trial_s:g} s"
        said = "max_life_s" in _mapping(study.get("deployer"))
        where = ("deployer", "max_life_s") if said else ("deployer",)
        yield where, f"{reason}, with its time in the queue: raise max_life_s, or lower the limits"


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
