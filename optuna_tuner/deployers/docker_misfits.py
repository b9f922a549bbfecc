"""What a study that is deployed with Docker may not say elsewhere: of its image and its model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from optuna_tuner.deployers.docker_options import path_problem
from optuna_tuner.values import Json

# The grammar of Docker's references, or the id of an image.
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?|sha256:[0-9a-f]{64}"
)


def image_problem(image: object) -> str | None:
    """Why this names no image; None for one that may be there."""
    if not image:
        return "the deployer docker starts servers from an image: say which, such as image: vllm/vllm-openai:v0.33.0"
    if not isinstance(image, str) or not _IMAGE.fullmatch(image):
        return f'"{image}" is no name of an image; it is written like registry:5000/name:tag'
    return None


def model_problem(path: str) -> str | None:
    """Why a model's path cannot be mounted; None for one that can be, and for the id of one on a hub."""
    if path.startswith(("/", "./", "../", "~")) or "/../" in path or path in {".", ".."}:
        problem = path_problem(path.rstrip("/"))
        return f"{problem}: the deployer docker mounts it under the same name" if problem else None
    return None


def misfits(study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """All of it in one study file; what is missing or of another type is left to others."""
    engine, model = _mapping(study.get("engine")), _mapping(study.get("model"))
    image = image_problem(engine.get("image"))
    if engine and image:
        yield ("engine", "image") if "image" in engine else ("engine",), image
    for key in ("path", "tokenizer"):
        path = model.get(key)
        problem = model_problem(path) if isinstance(path, str) else None
        if problem:
            yield ("model", key), problem


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
