"""The short lane of the state machine; `benchmarks/chaos.py state-machine` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from databases import DatabaseServer
from state_machine import machine_runs

RUNS, STEPS, SEED = 60, 50, 20261121
HAPPENED = (
    "claim",
    "ask",
    "intend",
    "create",
    "end",
    "cancel of one that is queued",
    "claim, refused, of a fenced worker",
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_whatever_is_done_in_whatever_order_the_books_are_right(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    url = f"sqlite:///{tmp_path}/studies.db"
    if kind != "sqlite":
        server: DatabaseServer = request.getfixturevalue(kind)
        url = server.new_database()
    counts = machine_runs(url, RUNS, STEPS, SEED)
    assert counts["steps of whole runs"] >= RUNS * STEPS
    assert [what for what in HAPPENED if not counts[what]] == []
