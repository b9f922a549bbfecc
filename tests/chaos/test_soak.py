"""The short lane of the soak: sixty trials under sixty faults, and nothing is lost.

The full one is `python benchmarks/chaos.py soak --help`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import soak

SEED = 20261121
ALL_KINDS = 12


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.campaign])]
)
def test_sixty_faults_lose_nothing(database: str, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    soak.add_arguments(parser)
    sizes = ["--trials", "60", "--faults", "60", "--cell", "0", "--seed", str(SEED), "--minutes", "25"]
    try:
        report = soak.soak(parser.parse_args(["--database", database, *sizes]), tmp_path)
    except LookupError as missing:
        pytest.skip(str(missing))
    print(report.text)
    assert [str(violation) for violation in report.violations] == []
    assert report.shortfalls == []
    assert report.data["fault kinds"] >= ALL_KINDS  # type: ignore[operator]  # a number
