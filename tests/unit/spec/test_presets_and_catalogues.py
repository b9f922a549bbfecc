"""No preset names a flag that any version with a catalogue would refuse."""

from __future__ import annotations

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.presets import preset_text


@pytest.mark.parametrize(
    ("preset", "engine", "version"),
    [
        (preset, engine, version)
        for preset, engine in (("vllm", "vllm"), ("vllm-cpu", "vllm"), ("sglang", "sglang"))
        for version in shelf.versions(engine)
        # vLLM for CPU shows a block size that only the device refuses; before 0.18 the parser did
        if preset != "vllm-cpu" or shelf.order(version) >= shelf.order("0.18.0")
    ],
)
def test_a_preset_fits_every_version(preset: str, engine: str, version: str) -> None:
    name = preset.replace("-", "_")
    text = preset_text(name).replace(f"kind: {engine}\n", f"kind: {engine}\n  version: {version}\n")
    assert f"version: {version}" in text
    assert parse_study(text, "preset.yaml", InstalledKinds()).engine.options["version"] == version


def test_there_are_enough_versions() -> None:
    vllm, sglang = shelf.versions("vllm"), shelf.versions("sglang")
    assert (vllm[0], len(vllm) >= 35) == ("0.11.0", True)
    assert (sglang[0], len(sglang) >= 43) == ("0.5.0rc2", True)
