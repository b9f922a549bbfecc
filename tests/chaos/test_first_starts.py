"""Eight first starts at once on an empty database."""

from __future__ import annotations

from pathlib import Path

import pytest
from first_starts import SIZE, fresh_runs, races

RACES = [
    "sqlite",
    pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.campaign]),
    pytest.param("mysql", marks=[pytest.mark.mysql, pytest.mark.campaign]),
]
RUNS = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.campaign])]
TIMES = 3


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if request.getfixturevalue("kind") == "postgresql":
        request.getfixturevalue("own_postgresql")  # skips where it is not installed
    if request.getfixturevalue("kind") == "mysql":
        request.getfixturevalue("mysql")


@pytest.mark.parametrize("kind", RACES)
def test_eight_first_starts_at_once_all_succeed_and_make_one_study(kind: str, tmp_path: Path) -> None:
    tally = races(kind, TIMES, tmp_path)
    assert tally.faults == []
    assert (tally.rounds, tally.starts) == (TIMES, TIMES * SIZE)


@pytest.mark.parametrize("kind", RUNS)
def test_eight_fresh_runs_at_once_share_one_study_to_its_end(kind: str, tmp_path: Path) -> None:
    tally = fresh_runs(kind, 1, tmp_path)
    assert tally.faults == []
