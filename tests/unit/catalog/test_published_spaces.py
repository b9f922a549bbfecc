"""Search spaces that others have published: what an engine's version no longer takes of them is named, and no more.

Which flags and values each has is read off the projects' own files, as of 2026.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from optuna_tuner.catalog import shelf
from optuna_tuner.errors import Fault, SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import check_study
from optuna_tuner.spec.space import flag_name
from optuna_tuner.spec.study import StudySpec

SPACES: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).parents[2].joinpath("material", "published-spaces.yaml").read_text(encoding="utf-8")
)


def faults(engine: str, version: str, *, space: dict[str, Any] | None = None, **fixed: object) -> list[Fault]:
    """In a study that may change the answers and the longest context, as many of these spaces do."""
    study = {
        "name": "published",
        "model": {"name": "m", "path": "m"},
        "engine": {"kind": engine, "version": version, **fixed},
        "benchmark": {"kind": "script", "command": ["x"], "metrics": ["score"]},
        "space": space or {"ANY": {"type": "switch", "env": True}},
        "quality": {"allow": [name for name in space or () if flag_name(name) == "max_model_len"]},
        "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
    }
    try:
        check_study(StudySpec.model_validate(study), InstalledKinds())
    except SpecError as error:
        return list(error.faults)
    return []


@pytest.mark.parametrize(
    ("name", "version"), [(name, version) for name, space in SPACES.items() for version in space["refused"]]
)
def test_exactly_what_a_version_refuses_is_named(name: str, version: str) -> None:
    published = SPACES[name]
    found = faults(published["engine"], version, space=published["space"], **published.get("fixed", {}))
    named = [re.sub(r"^(?:space|engine\.flags|engine\.env)\.", "", fault.path) for fault in found]
    assert sorted(named) == published["refused"][version]
    assert all(version in fault.message for fault in found)


def test_each_space_is_held_against_at_least_five_versions() -> None:
    assert [name for name, space in SPACES.items() if len(space["refused"]) < 5] == []


@pytest.mark.parametrize(
    ("engine", "version"), [(engine, version) for engine in ("vllm", "sglang") for version in shelf.versions(engine)]
)
def test_no_version_is_refused_its_own_defaults(engine: str, version: str) -> None:
    defaults = {
        flag.name: flag.default
        for flag in shelf.load(engine, version).flags
        if isinstance(flag.default, bool | int | float | str) and not flag.many
    }
    refused = [str(fault) for fault in faults(engine, version, flags=defaults) if "set by the tuner" not in str(fault)]
    assert refused == []


def test_old_flags_of_a_preset_are_told_as_deprecated_before_they_are_gone() -> None:
    flag = shelf.load("sglang", "0.5.18").find("cuda-graph-max-bs")
    assert flag is not None
    assert flag.deprecated
