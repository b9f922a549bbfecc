"""What Alembic runs around the steps: on the connection of the caller, beside Optuna's own tables."""

from __future__ import annotations

from alembic import context
from sqlalchemy.schema import SchemaItem

from optuna_tuner.store.tables import METADATA, PREFIX, VERSION_TABLE


def ours(_item: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: SchemaItem | None) -> bool:  # noqa: FBT001  Alembic's signature
    """Whether Alembic may look at it: Optuna's tables stand in the same database and are left alone."""
    return kind != "table" or (name or "").startswith(PREFIX)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    include_object=ours,
)
with context.begin_transaction():
    context.run_migrations()
