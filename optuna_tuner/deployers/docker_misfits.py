"""What a study that is deployed with Docker may not say elsewhere: of its image and its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optuna_tuner.deployers.container_words import image_problem, path_problem
from optuna_tuner.values import Json


def model_problem(path: str) -> str | None:
    """Why a model's path cannot be mounted; None for one that can be, and for the id of one on a hub."""
    if path.startswith(("/", "./", "../", "~")) or "/../" in path or path in {".", ".."}:
        problem = path_problem(path.rstrip("/"))
        return f"{problem}: the deployer docker mounts it under the same name" if problem else None
    return None


def misfits(study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """All of it in one study file; what is missing or of another type is left to others."""
    engine, model = _mapping(study.get("engine")), _mapping(study.get("model"))
    image = image_problem(engine.get("image"), "docker")
    if engine and image:
        yield ("engine", "image") if "image" in engine else ("engine",), image
    for key in ("path", "tokenizer"):
        path = model.get(key)
        problem = model_problem(path) if isinstance(path, str) else None
        if problem:
            yield ("model", key), problem


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
