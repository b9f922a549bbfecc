"""A study in a tracker of experiments: track."""

from __future__ import annotations

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.session import Session
from optuna_tuner.results.tracking import TrackerKind


@command(
    example="optuna-tuner track my-study --to mlflow     where MLFLOW_TRACKING_URI says\n"
    "optuna-tuner track my-study --to wandb --project serving     or for wandb sync, with WANDB_MODE=offline"
)
@click.argument("study")
@click.option(
    "--to",
    "kind",
    required=True,
    type=click.Choice([each.value for each in TrackerKind]),
    help="mlflow or wandb (Weights & Biases); each is an extra of this package.",
)
@click.option(
    "--project", default="optuna-tuner", show_default=True, help="MLflow's experiment, or the project of W&B."
)
@pass_session
def track(session: Session, study: str, kind: str, project: str) -> None:
    """Log a study to MLflow or Weights & Biases.

    A run for the study, with the gain and the report, and one for each trial that has ended: flags as parameters,
    figures as metrics, the cause of a failure as a tag. Call it again while the study goes on: nothing is there twice.
    Where it is sent, and the login, are for the tracker's own environment variables to say. Nothing is sent unasked.
    """
    tracked = session.tuner.track(study, TrackerKind(kind), project)
    there = f"; {tracked.there} were there" if tracked.there else ""
    session.note(f"Logged {tracked.logged} trials{there}: {tracked.place}")
