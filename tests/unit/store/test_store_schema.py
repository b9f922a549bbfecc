from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from stores import OLD_WORKER, check_first_version, make_first_version

from optuna_tuner.errors import StoreError
from optuna_tuner.store import schema
from optuna_tuner.store.database import Database
from optuna_tuner.store.store import Store
from optuna_tuner.store.tables import METADATA, VERSION_TABLE


def run(file: Path, statement: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        connection.execute(statement)
    connection.close()


def upgrade(url: str) -> None:
    database = Database(url)
    schema.upgrade(database)
    database.close()


def test_the_migrations_make_exactly_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    schema.init(database)

    def differences(connection: object) -> object:
        options = {
            "version_table": VERSION_TABLE,
            "include_object": lambda _item, name, kind, *_rest: kind != "table" or name.startswith("tuner_"),
        }
        return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)  # type: ignore[arg-type]

    assert database.read(differences) == []
    database.close()


def test_the_everyday_check_knows_the_last_migration() -> None:
    assert ScriptDirectory.from_config(schema._alembic()).get_current_head() == schema.HEAD


def test_optunas_tables_and_version_stand_beside_ours(store: Store, tmp_path: Path) -> None:
    assert store.optuna_storage().get_all_studies() == []
    connection = sqlite3.connect(tmp_path / "studies.db")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert {"studies", "trials", "alembic_version"} < tables
    assert {"tuner_study", "tuner_attempt", "tuner_worker", "tuner_resource", "tuner_event", VERSION_TABLE} < tables


def test_sqlite_writes_ahead_and_waits(store: Store) -> None:
    def settings(connection: object) -> list[object]:
        names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]  # type: ignore[attr-defined]

    assert store._database.read(settings) == ["wal", 2, 1_000, 1]


def test_optunas_writers_begin_as_writers_and_its_readers_do_not(store: Store) -> None:
    writer, reader = store.optuna_storage(), store.optuna_storage(reading=True)
    with store._database.engine.begin():  # holds the file's one place for a writer
        assert reader.get_all_studies() == []
        with writer.engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA busy_timeout=0")
            with pytest.raises(Exception, match="locked"):
                connection.begin()


def test_without_create_a_missing_database_is_not_made_and_the_command_is_named(tmp_path: Path) -> None:
    file = tmp_path / "none" / "a.db"
    with pytest.raises(StoreError, match="optuna-tuner db init"):
        Store.open(f"sqlite:///{file}", create=False)
    assert not file.parent.exists()


def test_without_create_a_database_of_optuna_alone_is_missing_our_tables(tmp_path: Path) -> None:
    run(tmp_path / "a.db", "CREATE TABLE studies (study_id INTEGER)")
    with pytest.raises(StoreError, match="optuna-tuner db init"):
        Store.open(f"sqlite:///{tmp_path}/a.db", create=False)


def test_old_tables_name_the_command_that_upgrades_them(store: Store, tmp_path: Path) -> None:
    run(tmp_path / "studies.db", "UPDATE tuner_alembic_version SET version_num = '0001'")
    with pytest.raises(StoreError, match="optuna-tuner db upgrade"):
        Store.open(store.url, create=False)


@pytest.mark.parametrize("create", [True, False])
def test_tables_of_a_newer_version_are_left_alone(store: Store, tmp_path: Path, create: bool) -> None:  # noqa: FBT001  a parameter of the test
    run(tmp_path / "studies.db", "UPDATE tuner_alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="a newer optuna-tuner"):
        Store.open(store.url, create=create)


def test_tables_of_another_optuna_are_refused_and_can_be_upgraded(store: Store, tmp_path: Path) -> None:
    run(tmp_path / "studies.db", "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    with pytest.raises(StoreError, match=r"another version of Optuna.*optuna-tuner db upgrade"):
        store.optuna_storage()
    upgrade(store.url)
    assert store.optuna_storage().get_all_studies() == []


def test_a_database_of_the_first_version_comes_up_with_its_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    make_first_version(url)
    with pytest.raises(StoreError, match="optuna-tuner db upgrade"):
        Store.open(url, create=False)
    upgrade(url)
    with Store.open(url, create=False) as store:
        check_first_version(store)


def test_workers_of_the_first_version_may_go_on_writing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    make_first_version(url)
    upgrade(url)
    run(tmp_path / "old.db", OLD_WORKER.replace("'w1'", "'w2'"))
    with Store.open(url, create=False) as store:
        assert [worker.machine for worker in store.workers.alive()] == ["", ""]


def test_a_step_that_was_cut_off_half_way_is_taken_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    make_first_version(url)
    run(tmp_path / "old.db", "ALTER TABLE tuner_study ADD COLUMN ended_because TEXT")  # as MySQL leaves it
    upgrade(url)
    with Store.open(url, create=False) as store:
        assert store.workers.get("w1").machine == ""


def test_a_second_start_changes_nothing(store: Store) -> None:
    store.studies.add(name="a", spec_json="{}", space_hash="", budget=1)
    upgrade(store.url)
    with Store.open(store.url) as again:
        assert [study.name for study in again.studies.all()] == ["a"]


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database, but a text of some length" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(f"sqlite:///{tmp_path}/a.db")


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        Store.open(f"sqlite:///{tmp_path}/file/deeper/a.db")


def test_importing_the_store_loads_neither_optuna_nor_alembic() -> None:
    code = "import sys, optuna_tuner.store.store; print({'optuna', 'alembic', 'pydantic', 'psutil'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_folder_that_refuses_a_new_database_is_told_by_its_name(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nowhere/a.db")
    with pytest.raises(StoreError, match=r"nowhere/a\.db: unable to open database file"):
        database.use_write_ahead_log()
    database.close()
