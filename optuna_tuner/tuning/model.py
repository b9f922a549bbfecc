"""The model of a study, on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optuna_tuner.engines.embedded import located_model, resolve_model
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory import facts
from optuna_tuner.spec.study import ModelSpec
from optuna_tuner.values import Model, Scalar


def prepare_model(spec: ModelSpec) -> Model:
    """Where the model and its tokenizer are; the built-in model is made on first use, which takes a second or two."""
    return _known(resolve_model(spec.name, spec.path, spec.tokenizer))


def model_paths(spec: ModelSpec) -> Model:
    """Where the model and its tokenizer will be; makes nothing."""
    return _known(located_model(spec.name, spec.path, spec.tokenizer))


def _known(model: Model) -> Model:
    return replace(model, facts=_facts(model.path))


def _facts(path: str) -> Mapping[str, Scalar]:
    """What rules may ask of it; nothing where its config is not on this machine, or not wholly understood."""
    try:
        found = facts.read(path)
    except EnvironmentFaultError:
        return {}
    if found.doubts or not found.heads:
        return {}
    return {
        "model_heads": found.heads,
        "model_kv_heads": found.kv_heads,
        "model_experts": found.experts,
        "model_uses_mla": found.is_mla,
    }
