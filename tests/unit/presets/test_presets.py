from __future__ import annotations

from pathlib import Path

import pytest
from spec_kinds import NamedKinds

from optuna_tuner.errors import NotFoundError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.presets.shelf import preset_names, preset_text
from optuna_tuner.spec.files import load_study, parse_study
from optuna_tuner.spec.writing import to_yaml

STUDIES = sorted((Path(__file__).parents[3] / "studies").glob("*.yaml"))


def test_there_is_a_preset_for_each_engine() -> None:
    assert preset_names() == ("embedded", "llama_cpp", "sglang", "vllm", "vllm_cpu")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_good_study_for_the_installed_plugins(name: str) -> None:
    spec = parse_study(preset_text(name), f"{name}.yaml", InstalledKinds())
    assert spec.baseline
    assert spec.goals.constraints


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_what_it_is_in_its_first_comment(name: str) -> None:
    assert preset_text(name).splitlines()[1].startswith("# ")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_being_written_again(name: str) -> None:
    spec = parse_study(preset_text(name), name, NamedKinds())
    assert parse_study(to_yaml(spec), name, NamedKinds()) == spec


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_repository_is_good(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=")
    assert load_study(file, InstalledKinds()).name


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match='no preset "gpu"; there are embedded, llama_cpp, sglang, vllm'):
        preset_text("gpu")
