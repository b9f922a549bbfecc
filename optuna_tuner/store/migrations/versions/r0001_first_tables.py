"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT

revision = "0001"
down_revision = None

_ID = sa.String(26)
_WORD = sa.String(16)
_LONG = sa.Text().with_variant(LONGTEXT(), "mysql")
_MOMENT = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql")
_MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """Make them. MySQL cannot take a table back when it is cut off half-way: so what is there is left as it is."""
    for name, items in (
        ("tuner_study", _study()),
        ("tuner_worker", _worker()),
        ("tuner_attempt", _attempt()),
        ("tuner_resource", _resource()),
        ("tuner_event", _event()),
    ):
        op.create_table(name, *items, if_not_exists=True, **_MYSQL)


def _study() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("spec_json", _LONG, nullable=False),
        sa.Column("space_hash", sa.String(128), nullable=False),
        sa.Column("budget", sa.Integer, nullable=False),
        sa.Column("reserved", sa.Integer, nullable=False),
        sa.Column("desired", _WORD, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tuner_study"),
        sa.UniqueConstraint("name", name="uq_tuner_study_name"),
        sa.CheckConstraint("reserved <= budget", name="ck_tuner_study_reserved_within_budget"),
    ]


def _worker() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", _ID, nullable=False),
        sa.Column("study_id", _ID, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_start", sa.Double, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("slot", _LONG, nullable=False),
        sa.Column("retired", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tuner_worker"),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_study.id"], name="fk_tuner_worker_study_id"),
    ]


def _attempt() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", _ID, nullable=False),
        sa.Column("study_id", _ID, nullable=False),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("state", _WORD, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("retry_of", _ID),
        sa.Column("params", _LONG),
        sa.Column("number", sa.Integer),
        sa.Column("worker_id", _ID),
        sa.Column("phase", _WORD, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("outcome", _LONG),
        sa.Column("ended_by", _ID),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("claimed_at", _MOMENT),
        sa.Column("ended_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_tuner_attempt"),
        sa.UniqueConstraint("retry_of", name="uq_tuner_attempt_retry_of"),
        sa.UniqueConstraint("study_id", "number", name="uq_tuner_attempt_study_id_number"),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_study.id"], name="fk_tuner_attempt_study_id"),
        sa.ForeignKeyConstraint(["retry_of"], ["tuner_attempt.id"], name="fk_tuner_attempt_retry_of"),
        sa.ForeignKeyConstraint(["worker_id"], ["tuner_worker.id"], name="fk_tuner_attempt_worker_id"),
    ]


def _resource() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", _ID, nullable=False),
        sa.Column("attempt_id", _ID, nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("request", _LONG, nullable=False),
        sa.Column("handle", _LONG),
        sa.Column("state", _WORD, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tuner_resource"),
        sa.UniqueConstraint("worker_id", "id", name="uq_tuner_resource_worker_id_id"),
        sa.ForeignKeyConstraint(["attempt_id"], ["tuner_attempt.id"], name="fk_tuner_resource_attempt_id"),
        sa.ForeignKeyConstraint(["worker_id"], ["tuner_worker.id"], name="fk_tuner_resource_worker_id"),
    ]


def _event() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("attempt_id", _ID, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("data", _LONG, nullable=False),
        sa.Column("end_of", _ID),
        sa.PrimaryKeyConstraint("attempt_id", "id", name="pk_tuner_event"),
        sa.UniqueConstraint("end_of", name="uq_tuner_event_end_of"),
        sa.ForeignKeyConstraint(["attempt_id"], ["tuner_attempt.id"], name="fk_tuner_event_attempt_id"),
    ]
