import os
from collections.abc import Mapping

import pytest

from optuna_tuner.deployers.supervision import processes
from optuna_tuner.deployers.supervision.processes import Entry, Process, below, lives, look, this


def test_a_process_is_named_by_its_pid_and_its_start() -> None:
    assert this().pid == os.getpid()
    assert lives(this())
    assert not lives(Process(os.getpid(), this().start + 1))


def test_a_pid_that_nobody_has_is_nobody() -> None:
    assert look(2**22 + 1) is None


def test_we_are_below_our_parent() -> None:
    assert this() in below({os.getppid()})
    assert this() not in below({os.getpid()})


def test_descendants_are_found_through_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 21: 20}
    monkeypatch.setattr(processes, "table", lambda: family(parents))
    assert [process.pid for process in below({10})] == [11, 12]
    assert [process.pid for process in below({10, 20})] == [11, 12, 21]


def test_a_circle_in_a_changing_table_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "table", lambda: family({11: 12, 12: 11}))
    assert below({10}) == []


def test_the_dead_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Entry(Process(11, 0), 10, dead=True)
    monkeypatch.setattr(processes, "table", lambda: {11: dead, **family({12: 11})})
    assert [process.pid for process in below({10})] == [12]


def family(parents: Mapping[int, int]) -> Mapping[int, Entry]:
    return {pid: Entry(Process(pid, 0), parent, dead=False) for pid, parent in parents.items()}
