"""Which machine this is."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Thread

import pytest

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.tuning.host import _machine, _written_once


def test_a_machine_keeps_its_name_and_hosts_with_one_home_have_two(tmp_path: Path) -> None:
    file = tmp_path / "home" / "machine-id"
    first = _machine(file, "node-a")
    _machine.cache_clear()
    assert _machine(file, "node-a") == first
    assert _machine(file, "node-b") != first
    assert _machine(tmp_path / "other" / "machine-id", "node-a") != first
    assert len(first) <= 64, "the width of its column"


def test_all_who_write_the_name_at_once_read_the_same(tmp_path: Path) -> None:
    names: list[str] = []
    together = Barrier(8)

    def begin() -> None:
        together.wait()
        names.append(_written_once(tmp_path / "machine-id"))

    threads = [Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8
    assert len(set(names)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["machine-id"]


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFaultError, match="name of this machine"):
        _machine(tmp_path / "file" / "machine-id", "node-a")
