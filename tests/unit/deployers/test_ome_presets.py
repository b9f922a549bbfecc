"""The presets that come with the package are sound, fit together, and are what OME's own definitions allow."""

from __future__ import annotations

import pytest
from clusters import CRDS

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.shelf import tagged_version
from optuna_tuner.deployers.ome import presets
from optuna_tuner.deployers.ome.options import ModelConfig, RuntimeConfig
from optuna_tuner.deployers.ome.shapes import MODEL, RUNTIME, at, why_unfit
from optuna_tuner.testing.fake_crds import Definitions

MODELS = {"llama-3-2-1b", "llama-3-2-3b", "llama-3-1-70b", "llama-3-3-70b", "mistral-7b", "mixtral-8x7b", "deepseek-v3"}
RUNTIMES = {"sglang-llama-small", "sglang-llama-large", "vllm-llama-small", "vllm-llama-large", "sglang-mixtral-moe"}


def test_all_that_are_promised_are_there() -> None:
    assert set(presets.names(MODEL)) == MODELS
    assert set(presets.names(RUNTIME)) == RUNTIMES


@pytest.mark.parametrize("name", sorted(MODELS | RUNTIMES))
def test_a_preset_is_what_omes_definitions_allow(name: str) -> None:
    kind = ModelConfig if name in MODELS else RuntimeConfig
    made = kind(preset=name).manifest
    assert made is not None
    resource = f"{str(made['kind']).lower()}s"
    kept = Definitions(CRDS).admitted(resource, dict(made), strict=True)
    assert at(kept, "metadata", "labels") == {"optuna-tuner/made": "yes"}


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_a_runtime_holds_an_engine_whose_flags_are_known(name: str) -> None:
    preset = presets.load(name)
    image = str(at(preset.spec, "engineConfig", "runner", "image"))
    assert shelf.find(preset.engine, str(tagged_version(image))) is not None
    assert any(why_unfit(presets.load(model).spec, preset.spec) is None for model in MODELS)


def test_every_model_but_the_largest_has_a_runtime() -> None:
    alone = {
        model
        for model in MODELS
        if all(why_unfit(presets.load(model).spec, presets.load(each).spec) for each in RUNTIMES)
    }
    assert alone == {"deepseek-v3"}


def test_overrides_are_merged_and_null_takes_away() -> None:
    overrides = {"modelSizeRange": None, "engineConfig": {"runner": {"resources": {"limits": {"cpu": "4"}}}}}
    config = RuntimeConfig.model_validate({"preset": "vllm-llama-small", "overrides": overrides})
    assert config.whole is not None
    assert "modelSizeRange" not in config.whole
    limits = at(config.whole, "engineConfig", "runner", "resources", "limits")
    assert limits == {"cpu": "4", "memory": "30Gi", "nvidia.com/gpu": "1"}


def test_a_site_keeps_a_model_where_it_likes_unless_the_study_says_where() -> None:
    assert ModelConfig(preset="mistral-7b").claims == {
        "storage": {"storageUri": "hf://mistralai/Mistral-7B-Instruct-v0.3"}
    }
    said = ModelConfig.model_validate({"preset": "mistral-7b", "overrides": {"storage": {"path": "/mnt/m"}}})
    assert at(said.claims, "storage", "path") == "/mnt/m"
