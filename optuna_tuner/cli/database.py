"""The database's own tables: db init, upgrade, check."""

from __future__ import annotations

import click

from optuna_tuner.cli.command import Group, command, pass_session
from optuna_tuner.cli.session import Session


@click.group(cls=Group)
def db() -> None:
    """Make, upgrade or check the database's tables."""


db.example = "optuna-tuner db check\noptuna-tuner --storage postgresql://tuner@db/tuner db init"


@command(example="optuna-tuner --storage postgresql://tuner@db/tuner db init")
@pass_session
def init(session: Session) -> None:
    """Make the tables; fine when they are there already."""
    session.tuner.db_init()
    session.note("The tables are there.")


@command(example="optuna-tuner db upgrade")
@pass_session
def upgrade(session: Session) -> None:
    """Bring the tables of an older version up to date."""
    session.tuner.db_upgrade()
    session.note("The tables are up to date.")


@command(example="optuna-tuner db check && echo ready")
@pass_session
def check(session: Session) -> None:
    """Say whether the tables fit this version; exit code 4 when not."""
    session.tuner.db_check()
    session.note("The tables fit this version.")


for each in (init, upgrade, check):
    db.add_command(each)
