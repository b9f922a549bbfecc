"""Runs of Weights & Biases, in a group that has the study's name. How they are sent is for its own variables to say."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.results.tracking import Tracked
from optuna_tuner.results.tracking.logbook import Entry, Logbook

if TYPE_CHECKING:
    import wandb


def log_to_wandb(book: Logbook, project: str) -> Tracked:
    """Log every entry; one that is there already is written over. Raises EnvironmentFaultError."""
    try:
        import wandb  # noqa: PLC0415  an extra
    except ImportError as error:
        raise EnvironmentFaultError("wandb is missing: pip install 'optuna-tuner[wandb]'") from error
    try:
        for entry in book.trials:
            with _run(book, entry, project):
                pass
        with _run(book, book.study, project) as run, TemporaryDirectory() as folder:
            _attach(run, book, Path(folder))
            place = f"{Path(run.dir).parent}, to be sent by wandb sync" if run.offline else str(run.url)
    except wandb.Error as error:
        raise EnvironmentFaultError(f"Weights & Biases: {error}") from error
    return Tracked(place=place, logged=len(book.trials), there=0)


def _run(book: Logbook, entry: Entry, project: str) -> wandb.Run:
    import wandb  # noqa: PLC0415  an extra

    # What is sent of a trial is what is known of it, and nothing of the machine on which this is called.
    quiet = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, disable_job_creation=True, x_disable_stats=True
    )
    run = wandb.init(
        project=project,
        group=book.study.name,
        job_type=entry.tags.get("kind", "study"),
        id=entry.id,
        name=entry.name,
        config=dict(entry.config),
        resume="allow",
        settings=quiet,
    )
    run.summary.update({**entry.metrics, **entry.tags, "ending": entry.ending.value})
    for load, metrics in entry.at_loads:
        run.summary.update({f"at {load:g}/{name}": value for name, value in metrics.items()})
    return run


def _attach(run: wandb.Run, book: Logbook, folder: Path) -> None:
    """The report, as an artifact of the study's run."""
    import wandb  # noqa: PLC0415  an extra

    artifact = wandb.Artifact(f"{book.study.id}-report", type="report")
    for name, content in book.files.items():
        (folder / name).write_bytes(content)
        artifact.add_file(str(folder / name))
    run.log_artifact(artifact)
