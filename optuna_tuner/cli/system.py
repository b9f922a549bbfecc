"""What is on this machine: doctor, dashboard, completion."""

from __future__ import annotations

from typing import Literal, Unpack

import click

from optuna_tuner.cli.cluster_options import Where, cluster_options, read_cluster_options
from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.faults import Exit
from optuna_tuner.cli.output import emit, output_option
from optuna_tuner.cli.session import Session


@command(
    example="optuna-tuner doctor\n"
    "optuna-tuner doctor --install genai-bench\n"
    "optuna-tuner doctor --deployer ome --namespace bench"
)
@click.option(
    "--install",
    type=click.Choice(["genai-bench", "guidellm", "aiconfigurator"]),
    help="Get a missing tool, then look again.",
)
@click.option(
    "--deployer",
    type=click.Choice(["kubernetes", "ome"]),
    help="Look at a cluster instead, right by right, as this deployer needs it.",
)
@cluster_options
@output_option
@click.pass_context
def doctor(
    ctx: click.Context,
    /,
    install: str | None,
    deployer: Literal["kubernetes", "ome"] | None,
    output: str,
    **where: Unpack[Where],
) -> None:
    """Say what is missing on this machine, or on a cluster, and how to get it.

    What is not "needed" is needed by some studies only. Exit code 4 when something is missing that all need.
    """
    session = ctx.ensure_object(Session)
    from optuna_tuner.results.tables import Table  # noqa: PLC0415  it brings Optuna with it

    if install:
        from optuna_tuner.cli.install import install_tool  # noqa: PLC0415  only for --install

        install_tool(session, install)
    if deployer:
        from optuna_tuner.cluster_doctor import cluster_checks  # noqa: PLC0415  only for --deployer

        checks = cluster_checks(deployer, read_cluster_options(where))
    else:
        checks = session.tuner.doctor()
    columns = ("check", "ok", "needed", "found", "how to get it")
    rows = tuple((each.name, each.ok, each.needed, each.found, "" if each.ok else each.how_to_get) for each in checks)
    emit(session, Table(columns=columns, rows=rows), output)
    if any(each.needed and not each.ok for each in checks):
        ctx.exit(Exit.ENVIRONMENT)


@command(example="optuna-tuner dashboard\noptuna-tuner dashboard --port 9000")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; it has no login.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one."
)
@click.option("--allow-remote", is_flag=True, help="Let a host be named that other machines can reach.")
@pass_session
def dashboard(session: Session, host: str, port: int, *, allow_remote: bool) -> None:
    """Open optuna-dashboard on the storage, until Ctrl-C.

    A trial that breaks a constraint is never shown as the best.
    """
    session.tuner.dashboard(
        host=host,
        port=port,
        ready=lambda url: session.note(f"The dashboard is at {url} ; Ctrl-C ends it."),
        allow_remote=allow_remote,
    )


@command(example='eval "$(optuna-tuner completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in your shell."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415  only for this command

    script = get_completion_class(shell)
    if script is None:
        ctx.fail(f"{shell} is not known to this version of click")
    root = ctx.find_root()
    click.echo(script(root.command, {}, "optuna-tuner", "_OPTUNA_TUNER_COMPLETE").source())
