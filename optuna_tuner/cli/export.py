"""What was found, as a file for production: export."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.new_file import NEW_FILE, STDOUT, write
from optuna_tuner.cli.session import Session
from optuna_tuner.results.export import Export, Format


class Place(TypedDict):
    """Which trial, and where its server will run."""

    trial: int | None
    image: str | None
    host: str
    port: int


@command(
    example="optuna-tuner export my-study --to shell -o serve.sh && bash serve.sh\n"
    "optuna-tuner export my-study --to docker --image vllm/vllm-openai:v0.33.0\n"
    "optuna-tuner export my-study --to sbatch --host 0.0.0.0 -o serve.sbatch && sbatch serve.sbatch\n"
    "optuna-tuner export my-study --to helm-values -o values.yaml\n"
    "optuna-tuner export my-study --to vllm-config -o serve.yaml && vllm serve --config serve.yaml\n"
    "optuna-tuner export my-study --trial 0 --to shell     the engine's own default"
)
@click.argument("study")
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice([each.value for each in Format]),
    help="shell and docker are bash scripts, sbatch is one for Slurm, compose is a compose.yaml, kubernetes is a "
    "Deployment and a Service, helm-values are for vLLM's production stack, ome is an InferenceService, vllm-config is "
    "for vllm serve --config.",
)
@click.option(
    "--trial", type=click.IntRange(min=0), help="Another one than the best or the confirmed winner; 0 is the default."
)
@click.option("-o", "--output", "file", type=NEW_FILE, default=STDOUT, help="File to write; default: stdout.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all of them.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--image", help="Another image than the study's, for what runs in one.")
@pass_session
def export(session: Session, /, study: str, form: str, file: Path, *, force: bool, **place: Unpack[Place]) -> None:
    """Write what starts the best server in production.

    It is the launch that was measured: the same flags, variables and limits; what was left to the engine is left to
    it. Its first lines say what was measured, at which load, what the gain is worth and what else the flags change.
    Secrets are never in it: it reads them from the environment.
    """
    write(file, session.tuner.export(study, Export(form=Format(form), **place)), force=force)
    if file != STDOUT:
        session.note(f"Wrote {file}; its first lines say how to start it.")
