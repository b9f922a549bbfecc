"""The model of a study, on this machine."""

from __future__ import annotations

from dataclasses import replace

from optuna_tuner.engines.embedded import located_model, resolve_model
from optuna_tuner.engines.known_values import model_facts
from optuna_tuner.spec.study import ModelSpec
from optuna_tuner.values import Model


def prepare_model(spec: ModelSpec) -> Model:
    """Where the model and its tokenizer are; the built-in model is made on first use, which takes a second or two."""
    return _known(resolve_model(spec.name, spec.path, spec.tokenizer))


def model_paths(spec: ModelSpec) -> Model:
    """Where the model and its tokenizer will be; makes nothing."""
    return _known(located_model(spec.name, spec.path, spec.tokenizer))


def _known(model: Model) -> Model:
    return replace(model, facts=model_facts(model.path))
