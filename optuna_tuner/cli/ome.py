"""What the tuner has on a cluster with OME: ome presets, show, validate, list, delete."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from optuna_tuner.cli.cluster_options import Where, cluster_options, read_cluster_options
from optuna_tuner.cli.command import Group, command, pass_session
from optuna_tuner.cli.faults import Exit
from optuna_tuner.cli.output import emit, output_option
from optuna_tuner.cli.session import Session

STUDY = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group(cls=Group)
def ome() -> None:
    """Look after models and runtimes on a cluster with OME."""


ome.example = "optuna-tuner ome presets\noptuna-tuner ome validate study.yaml\noptuna-tuner ome list --namespace bench"


@command(example="optuna-tuner ome presets")
@output_option
@pass_session
def presets(session: Session, output: str) -> None:
    """List the models and runtimes that come with the package."""
    from optuna_tuner.deployers.ome import presets as shelf  # noqa: PLC0415  --help does without the data
    from optuna_tuner.results.tables import Table  # noqa: PLC0415  it brings Optuna with it

    found = [(name, shelf.load(name)) for name in shelf.names()]
    rows = tuple((name, each.kind, each.name, each.summary) for name, each in sorted(found, key=lambda it: it[1].kind))
    emit(session, Table(columns=("preset", "kind", "object", "is"), rows=rows), output)


@command(example="optuna-tuner ome show vllm-llama-small\noptuna-tuner ome show study.yaml | kubectl apply -f -")
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:  # noqa: ARG001  every command is given it
    """Print what is made of a preset, or of a study file, as manifests."""
    import yaml  # noqa: PLC0415  only for this command

    click.echo(yaml.safe_dump_all(_manifests(name), sort_keys=False, allow_unicode=True), nl=False)


@command(example="optuna-tuner ome validate study.yaml")
@STUDY
@output_option
@click.pass_context
def validate(ctx: click.Context, file: Path, output: str) -> None:
    """Ask the cluster what it would say of a study's objects.

    Nothing is made. Exit code 4 when it would refuse one of them.
    """
    from optuna_tuner.deployers.ome.house import verdicts  # noqa: PLC0415  --help does without it
    from optuna_tuner.deployers.ome.options import OmeOptions  # noqa: PLC0415  likewise
    from optuna_tuner.results.tables import Table  # noqa: PLC0415  it brings Optuna with it

    session = ctx.ensure_object(Session)
    spec = session.tuner.validate(file)
    _demand_ome(spec.deployer.kind, file)
    found = tuple(
        verdicts(OmeOptions.model_validate(dict(spec.deployer.options)), session.tuner.plan(spec).launches[0])
    )
    rows = tuple((each.kind, each.name, each.ok, each.said) for each in found)
    emit(session, Table(columns=("kind", "name", "ok", "the cluster says"), rows=rows), output)
    if not all(each.ok for each in found):
        ctx.exit(Exit.ENVIRONMENT)


@command(example="optuna-tuner ome list --namespace bench")
@cluster_options
@output_option
@pass_session
def list_things(session: Session, /, output: str, **where: Unpack[Where]) -> None:
    """List what the tuner made there: models, runtimes, and the servers of trials."""
    from optuna_tuner.deployers.ome.house import things  # noqa: PLC0415  --help does without it
    from optuna_tuner.results.tables import Table  # noqa: PLC0415  it brings Optuna with it

    rows = tuple(
        (each.name, each.kind, each.origin, each.state, each.since) for each in things(read_cluster_options(where))
    )
    emit(session, Table(columns=("name", "kind", "of", "state", "since"), rows=rows), output)


@command(example="optuna-tuner ome delete tuner-vllm-llama-small")
@click.argument("name")
@cluster_options
@pass_session
def delete(session: Session, /, name: str, **where: Unpack[Where]) -> None:
    """Take away a model or a runtime that the tuner made.

    One that somebody else made, or that a server of the namespace uses, is left alone.
    """
    from optuna_tuner.deployers.ome.house import delete as take_away  # noqa: PLC0415  --help does without it

    for kind in take_away(read_cluster_options(where), name):
        session.note(f"Deleted the {kind} {name}")


def _manifests(name: str) -> list[object]:
    from optuna_tuner.deployers.ome import presets as shelf  # noqa: PLC0415  --help does without the data
    from optuna_tuner.deployers.ome.options import ModelConfig, OmeOptions, RuntimeConfig  # noqa: PLC0415  likewise

    if name in shelf.names(ModelConfig.kind):
        return [ModelConfig(preset=name).manifest]
    if name in shelf.names(RuntimeConfig.kind):
        return [RuntimeConfig(preset=name).manifest]
    if not Path(name).is_file():
        known = ", ".join(shelf.names())
        raise click.UsageError(f'"{name}" is no preset and no file; there are {known}')
    from optuna_tuner.plugins import InstalledKinds  # noqa: PLC0415  only for a study file
    from optuna_tuner.spec.files import load_study  # noqa: PLC0415  likewise

    deployer = load_study(Path(name), InstalledKinds()).deployer
    _demand_ome(deployer.kind, Path(name))
    options = OmeOptions.model_validate(dict(deployer.options))
    both = (options.clusterbasemodel_config.manifest, options.clusterservingruntime_config.manifest)
    return [each for each in both if each is not None]


def _demand_ome(kind: str, file: Path) -> None:
    if kind != "ome":
        raise click.UsageError(f"the deployer of {file} is {kind}, not ome")


list_things.name = "list"
for each in (presets, show, validate, list_things, delete):
    ome.add_command(each)
