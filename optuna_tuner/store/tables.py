"""Our tables beside Optuna's. Their names begin with `tuner_`; a migration brings every change to old databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.types import TypeEngine

from optuna_tuner.store.ids import ID_LENGTH

VERSION_TABLE = "tuner_alembic_version"
PREFIX = "tuner_"

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class Utc(TypeDecorator[datetime]):
    """A moment, kept as UTC without a zone to the microsecond; the same on all databases."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """MySQL's DATETIME drops the fraction unless told otherwise."""
        return dialect.type_descriptor(DATETIME(fsp=6) if dialect.name == "mysql" else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        """To the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC)


ID = String(ID_LENGTH)
WORD = String(16)  # a member of one of our enums
LONG = Text().with_variant(LONGTEXT(), "mysql")  # MySQL's TEXT ends at 64 KiB
# Names differ when their letters differ, also in case and accent, as on the other databases.
MYSQL: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}

STUDY = Table(
    "tuner_study",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("spec_json", LONG, nullable=False),
    Column("space_hash", String(128), nullable=False),
    Column("budget", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("desired", WORD, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("ended_because", LONG),
    Column("drops", LONG),
    CheckConstraint("reserved <= budget", name="reserved_within_budget"),
    **MYSQL,
)

WORKER = Table(
    "tuner_worker",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("study_id", ID, ForeignKey("tuner_study.id"), nullable=False),
    Column("host", String(255), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_start", Double, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("slot", LONG, nullable=False),
    Column("retired", Boolean, nullable=False),
    Column("machine", String(64), nullable=False, server_default=""),
    **MYSQL,
)

ATTEMPT = Table(
    "tuner_attempt",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("study_id", ID, ForeignKey("tuner_study.id"), nullable=False),
    Column("kind", WORD, nullable=False),
    Column("state", WORD, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("retry_of", ID, ForeignKey("tuner_attempt.id"), unique=True),
    Column("params", LONG),
    Column("number", Integer),
    Column("worker_id", ID, ForeignKey("tuner_worker.id")),
    Column("phase", WORD, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("outcome", LONG),
    Column("ended_by", ID),  # which call of end() won; so that the winner knows itself when the reply was lost
    Column("told", Boolean, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("claimed_at", Utc),
    Column("ended_at", Utc),
    Column("pair", Integer),
    UniqueConstraint("study_id", "number"),
    **MYSQL,
)

RESOURCE = Table(
    "tuner_resource",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("attempt_id", ID, ForeignKey("tuner_attempt.id"), nullable=False),
    Column("worker_id", ID, ForeignKey("tuner_worker.id"), nullable=False),
    Column("request", LONG, nullable=False),
    Column("handle", LONG),
    Column("state", WORD, nullable=False),
    UniqueConstraint("worker_id", "id"),  # an index for the reaper's question
    **MYSQL,
)

EVENT = Table(
    "tuner_event",
    METADATA,
    Column("attempt_id", ID, ForeignKey("tuner_attempt.id"), primary_key=True),
    Column("id", ID, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("kind", WORD, nullable=False),
    Column("data", LONG, nullable=False),
    Column("end_of", ID, unique=True),  # the attempt, on its end only: the database itself refuses a second end
    **MYSQL,
)
