"""A short lane of the kill points: lines that change what others see, and lines in between, evenly spread."""

from __future__ import annotations

from pathlib import Path

import pytest
from lane import lane
from tracing import LIFE_CYCLE, PACKAGE, Gate, demand, life_cycle


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_a_worker_killed_at_any_line_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    said = lane("kill-points", "--sample", "40", "--keep", str(tmp_path))
    assert "40 of 40 cases played, 0 not reached" in said


@pytest.mark.campaign
@pytest.mark.postgresql
@pytest.mark.timeout(600)
def test_the_same_on_postgresql(tmp_path: Path) -> None:
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL's server is not installed (Debian: postgresql)")
    said = lane("kill-points", "--sample", "8", "--database", "postgresql", "--keep", str(tmp_path))
    assert "8 of 8 cases played, 0 not reached" in said


def test_each_pattern_of_the_life_cycle_names_files() -> None:
    assert [pattern for pattern in LIFE_CYCLE if not list(PACKAGE.glob(pattern))] == []
    assert {"tuning/worker.py", "store/ledger.py", "deployers/local_end.py"} <= set(life_cycle().values())


def test_a_gate_that_nobody_can_enter_is_said_aloud() -> None:
    demand(Gate("tuning/worker.py", "Worker.run"))
    with pytest.raises(LookupError, match="no_such"):
        demand(Gate("tuning/worker.py", "Worker.no_such"))
