"""The catalogues that come with the package are what the released wheels say.

OPTUNA_TUNER_TEST_WHEELS names the ones to read from the package index: "vllm==0.33.0 sglang==0.5.23".
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.refresh import refresh

WHEELS = os.environ.get("OPTUNA_TUNER_TEST_WHEELS", "").split()

pytestmark = pytest.mark.skipif(not WHEELS, reason="OPTUNA_TUNER_TEST_WHEELS names no wheels")


@pytest.mark.parametrize("wheel", WHEELS)
def test_the_catalogue_is_what_the_wheel_says(wheel: str, tmp_path: Path) -> None:
    engine, _, version = wheel.partition("==")
    made = refresh(engine, version, tmp_path)
    assert made.read_text(encoding="utf-8") == dict(shelf.texts(engine))[version]
