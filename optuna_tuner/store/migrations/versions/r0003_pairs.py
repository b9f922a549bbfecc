"""The pair that a confirming run belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add it, unless an upgrade that was cut off half-way has done so: MySQL cannot take a column back."""
    if "pair" not in {each["name"] for each in sa.inspect(op.get_bind()).get_columns("tuner_attempt")}:
        op.add_column("tuner_attempt", sa.Column("pair", sa.Integer(), nullable=True))
