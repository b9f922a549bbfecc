from __future__ import annotations

import json

import pytest
import yaml
from spec_kinds import NamedKinds

from optuna_tuner.presets.shelf import preset_names, preset_text
from optuna_tuner.spec.json_schema import study_schema
from optuna_tuner.spec.writing import SCHEMA_LINE

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = study_schema(NamedKinds())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("name", preset_names())
def test_an_editor_finds_nothing_wrong_with_a_preset(name: str) -> None:
    assert SCHEMA_LINE in preset_text(name)
    VALIDATOR.validate(yaml.safe_load(preset_text(name)))


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ("engine", {"kind": "vlm"}),
        ("engine", {"kind": "vllm", "flag": {}}),
        ("engine", {}),
        ("benchmark", {"kind": "http"}),
        ("deployer", {"kind": "local", "grace_s": "x"}),
        ("space", {"a": {"type": "int", "low": 1, "hgh": 2}}),
        ("budjet", {}),
    ],
)
def test_an_editor_marks_what_is_wrong(section: str, wrong: object) -> None:
    study = yaml.safe_load(preset_text("embedded"))
    assert VALIDATOR.is_valid(study)
    assert not VALIDATOR.is_valid({**study, section: wrong})


def test_a_kind_that_cannot_be_loaded_is_still_offered() -> None:
    study = yaml.safe_load(preset_text("embedded"))
    assert VALIDATOR.is_valid({**study, "engine": {"kind": "unloadable", "anything": 1}})
