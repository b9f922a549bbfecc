"""Why a study was ended, and which machine a worker runs on. Workers of the version before may go on writing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0002"
down_revision = "0001"

_LONG = sa.Text().with_variant(LONGTEXT(), "mysql")


def upgrade() -> None:
    """Add them. MySQL cannot take a column back when it is cut off half-way: so what is there is left as it is."""
    _add("tuner_study", sa.Column("ended_because", _LONG, nullable=True))
    _add("tuner_worker", sa.Column("machine", sa.String(64), nullable=False, server_default=""))


def _add(table: str, column: sa.Column[str]) -> None:
    there = {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in there:
        op.add_column(table, column)
