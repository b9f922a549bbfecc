"""What a store leaves in the process that closed it."""

from __future__ import annotations

import gc
from pathlib import Path

import optuna
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler

from optuna_tuner.store.store import Store


def compiled_after_one(folder: Path, name: str) -> int:
    """How many statements the process keeps when another store was used and closed."""
    with Store.open(f"sqlite:///{folder}/studies.db") as store:
        study = optuna.create_study(study_name=name, storage=store.optuna_storage())
        study.tell(study.ask({"tp": optuna.distributions.IntDistribution(1, 8)}), 1.0)
    del study
    gc.collect()
    return sum(isinstance(each, SQLiteCompiler) for each in gc.get_objects())


def test_a_closed_store_leaves_no_statements(tmp_path: Path) -> None:
    left = [compiled_after_one(tmp_path, name) for name in ("first", "second", "third", "fourth")]
    assert left[3] <= left[1], "the first one makes the tables, and compiles more"
