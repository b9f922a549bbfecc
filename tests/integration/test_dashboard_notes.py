"""Notes and figures in the dashboard: as it reads them, and in time that grows with the trials and not their square."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._note import get_note_from_system_attrs

from optuna_tuner.results.dashboard.filling import _Page
from optuna_tuner.results.dashboard.notes import FOOTER

LONG = "long " * 1000 + FOOTER  # more than one of the pieces into which the dashboard cuts a note
SHORT = f"short {FOOTER}"


class CountingStorage(RDBStorage):
    """Counts how often all attributes of a study are read."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked = Counter[str]()

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        self.asked["system attributes"] += 1
        return super().get_study_system_attrs(study_id)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[CountingStorage]:
    made = CountingStorage(f"sqlite:///{tmp_path / 'studies.db'}")
    optuna.create_study(storage=made, study_name="chat")
    yield made
    made.remove_session()
    made.engine.dispose()


def read(storage: CountingStorage, trial_id: int | None) -> tuple[int, str]:
    note = get_note_from_system_attrs(storage.get_study_system_attrs(1), trial_id)
    return note["version"], note["body"]


def test_the_dashboard_reads_each_note_as_it_was_written(storage: CountingStorage) -> None:
    page = _Page(storage, "chat")
    page.note(None, LONG)
    page.note(11, SHORT)
    assert read(storage, None) == (1, LONG)
    assert read(storage, 11) == (1, SHORT)
    assert read(storage, 1) == (0, "")


def test_the_dashboard_reads_each_figure_as_it_was_drawn(storage: CountingStorage) -> None:
    for figure in ('{"data": [' + "1, " * 2000 + "1]}", '{"data": []}'):
        _Page(storage, "chat").draw("history-0", figure)
        _Page(storage, "chat").draw("causes", "{}")
        drawn = get_plotly_graph_objects(storage.get_study_system_attrs(1))
        assert drawn == {"history-0": figure, "causes": "{}"}


def test_a_shorter_note_leaves_nothing_of_the_longer_one(storage: CountingStorage) -> None:
    for body in (LONG, SHORT, LONG):
        _Page(storage, "chat").note(7, body)
        assert read(storage, 7)[1] == body
    assert read(storage, 7)[0] == 3


def test_attributes_are_read_once_however_many_notes_are_written(storage: CountingStorage) -> None:
    page = _Page(storage, "chat")
    for trial_id in range(20):
        page.note(trial_id, SHORT)
    assert storage.asked["system attributes"] == 1


def test_who_fills_the_dashboard_loads_neither_it_nor_scikit_learn() -> None:
    heavy = "{'optuna_dashboard', 'sklearn'} & set(sys.modules)"
    code = f"import sys; import optuna_tuner.results.dashboard.filling, optuna_tuner.tuning.process; print({heavy})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
