"""Which flags of a winner may be left out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add them, unless an upgrade that was cut off half-way has done so: MySQL cannot take a column back."""
    if "drops" not in {each["name"] for each in sa.inspect(op.get_bind()).get_columns("tuner_study")}:
        op.add_column("tuner_study", sa.Column("drops", sa.Text().with_variant(LONGTEXT(), "mysql"), nullable=True))
