"""Making and upgrading the tables, ours and Optuna's, by one process at a time."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from optuna_tuner.errors import StoreError
from optuna_tuner.store import urls
from optuna_tuner.store.database import Database
from optuna_tuner.store.locks import held
from optuna_tuner.store.retry import weathered
from optuna_tuner.store.tables import VERSION_TABLE

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0004"  # the last migration; kept here so that an everyday start need not load Alembic
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = "schema"


class SchemaState(StrEnum):
    """How the tables of a database compare with this version of the package."""

    MISSING = "missing"  # make them with `optuna-tuner db init`
    OLD = "old"  # bring them up with `optuna-tuner db upgrade`
    CURRENT = "current"
    NEWER = "newer"  # a newer optuna-tuner made them: upgrade the package


def check(database: Database) -> SchemaState:
    """How the database's tables compare with this package. Makes nothing. Raises StoreError when it cannot be read."""
    if database.file is not None and not database.file.exists():
        return SchemaState.MISSING  # looking inside would make the file
    database.greet()
    revision = database.read(_revision)
    if revision in (None, HEAD):
        return SchemaState.MISSING if revision is None else SchemaState.CURRENT
    return SchemaState.OLD if revision in _known_revisions() else SchemaState.NEWER


def demand(database: Database) -> None:
    """Raise StoreError, which names the command that helps, unless the tables are current."""
    state = check(database)
    if state is SchemaState.MISSING:
        raise StoreError(f"{database.masked_url} has no tables yet; make them with: optuna-tuner db init")
    if state is SchemaState.OLD:
        raise StoreError(f"{database.masked_url} has old tables; bring them up with: optuna-tuner db upgrade")
    _refuse_newer(database, state)


def init(database: Database) -> None:
    """Make the tables, or bring ours up to this version; nothing when they are current. Any number may call at once.

    Raises StoreError when the database refuses, is newer than this package, or holds tables of another Optuna.
    """
    if check(database) is SchemaState.CURRENT:
        return
    if database.file is not None:
        _make_folder(database.file)
    with held(database, _LOCK):
        state = check(database)
        _refuse_newer(database, state)
        if state is not SchemaState.CURRENT:  # else another process was here first
            _make_optuna_tables(database)
            database.write(_migrate)


def upgrade(database: Database) -> None:
    """As `init`, and Optuna's tables are brought up to the installed Optuna too."""
    if check(database) is not SchemaState.MISSING:
        with held(database, _LOCK):
            _upgrade_optuna_tables(database)
    init(database)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return _version(connection)


def _version(connection: Connection) -> str | None:
    found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608  our own constant
    return None if found is None else str(found)


def is_current(connection: Connection) -> bool:
    """Whether the tables are still those of this package; another process may have upgraded them."""
    return _version(connection) == HEAD


def _refuse_newer(database: Database, state: SchemaState) -> None:
    if state is SchemaState.NEWER:
        raise StoreError(f"a newer optuna-tuner made the tables in {database.masked_url}; upgrade this one")


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder of {file} cannot be made: {error.strerror}") from error


def _make_optuna_tables(database: Database) -> None:
    if database.file is not None:
        database.use_write_ahead_log()

    def make() -> None:
        database.optuna_storage(reading=True, new=True).engine.dispose()

    weathered(make)


def _upgrade_optuna_tables(database: Database) -> None:
    from optuna.storages import RDBStorage  # noqa: PLC0415  heavy

    try:
        storage = RDBStorage(urls.literal(database.url), skip_compatibility_check=True, skip_table_creation=True)
        storage.upgrade()
        storage.engine.dispose()
    except SQLAlchemyError as error:
        raise database.refusal(error) from error


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  heavy

    config = _alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _known_revisions() -> frozenset[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415  heavy

    return frozenset(step.revision for step in ScriptDirectory.from_config(_alembic()).walk_revisions())


def _alembic() -> Config:
    from alembic.config import Config  # noqa: PLC0415  heavy

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
