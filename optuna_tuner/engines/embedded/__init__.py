"""The embedded default: a small model made on this machine, and llama.cpp's server in this Python environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from optuna_tuner.home import models_folder
from optuna_tuner.values import Model

BUILTIN = "builtin"  # what a study's model.path says to mean the model made here
GGUF_NAME = "model.gguf"
LAUNCHER = "optuna_tuner.engines.embedded.launcher"
RESOLVED = "resolved parameters: "  # begins the launcher's line with what it resolved, as JSON
VERSION = 1  # a new recipe gets a new number, and so a new folder


def builtin_model_path() -> Path:
    """The folder of the built-in model, whether it exists or not."""
    return models_folder() / f"{BUILTIN}-{VERSION}"


def located_model(name: str, path: str | None, tokenizer: str | None) -> Model:
    """The model that a study names, as the engines want it; writes nothing. No path: the name is the path."""
    folder = str(builtin_model_path())
    found = Model(name=name, path=path or name, tokenizer=tokenizer or path or name)
    if found.path == BUILTIN:
        found = replace(found, path=folder)
    return replace(found, tokenizer=folder) if found.tokenizer == BUILTIN else found


def resolve_model(name: str, path: str | None, tokenizer: str | None) -> Model:
    """The model that a study names, made first where it is the built-in one: a second or two, once.

    Raises EnvironmentFaultError when a package that the built-in model needs is missing.
    """
    if BUILTIN in {path, tokenizer}:
        from optuna_tuner.engines.embedded.model import ensure_builtin_model  # noqa: PLC0415  an extra's imports

        ensure_builtin_model()
    return located_model(name, path, tokenizer)
