"""The command that takes back what dead workers held: reap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command
from optuna_tuner.cli.faults import Exit
from optuna_tuner.cli.output import emit, output_option
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from optuna_tuner.tuning.reaping import HouseReaped, StudyReaped

    Row = tuple[str, str, str, str]

COLUMNS = ("study", "what", "which", "more")


@command(
    example="optuna-tuner reap                    after a crash or a restart of the machine\n"
    "optuna-tuner reap my-study\n"
    "optuna-tuner reap my-study --wait    watch workers of other machines until their lease is over"
)
@click.argument("study", required=False)
@click.option("--wait", is_flag=True, help="Watch workers that cannot be seen from here, for limits.lease_s at most.")
@output_option
@click.pass_context
def reap(ctx: click.Context, study: str | None, output: str, *, wait: bool) -> None:
    """Take back what dead workers held: servers, GPUs, trials.

    Workers whose process is gone are declared dead, their servers are ended, their trials wait in the queue again, and
    Optuna is told. All studies, or one. Every worker does this between its trials, and run when it ends; the command
    is for when nobody is left to do it. It may be run at any time, also by several at once: what lives is left alone.

    A worker of another machine is judged by its silence alone, which takes --wait; a server that is bound to its
    machine is ended there. Exit code 4 when something on this machine could not be ended.
    """
    from optuna_tuner.results.tables import Table  # noqa: PLC0415  it brings Optuna with it

    session = ctx.ensure_object(Session)
    if wait:
        session.note("Watching the workers that cannot be seen from here; Ctrl-C leaves them as they are.")
    house = session.tuner.reap(study, wait=wait)
    rows = tuple(_rows(house))
    if rows or output != "table":
        emit(session, Table(columns=COLUMNS, rows=rows), output)
    else:
        session.note("There is nothing to take back.")
    if house.quarantined or any(not left.elsewhere for each in house.studies for left in each.reaped.left):
        ctx.exit(Exit.ENVIRONMENT)


def _rows(house: HouseReaped) -> Iterator[Row]:
    for study in house.studies:
        yield from _study_rows(study)
    for uuid in house.lifted:
        yield "", "GPU came back from quarantine", uuid, ""
    for uuid, (since, reason) in house.quarantined.items():
        yield "", "GPU in quarantine", uuid, f"since {since}: {reason}"


def _study_rows(study: StudyReaped) -> Iterator[Row]:
    name, reaped = study.study, study.reaped
    for worker in reaped.workers:
        yield name, "worker declared dead", worker.id, f"process {worker.pid} on {worker.host}, slot {worker.slot.name}"
    for server in reaped.servers:
        yield name, "server gone", server, ""
    for taken in reaped.attempts:
        attempt = taken.attempt
        trial = f"attempt {attempt.id}" if attempt.number is None else f"trial {attempt.number}"
        yield name, "trial taken back", trial, "queued again" if taken.again else "not tried again"
    if study.told:
        yield name, "outcomes told to Optuna", str(study.told), ""
    for left in reaped.left:
        yield name, "server left", left.server, left.reason
    for worker in study.undecided:
        yield name, "worker not judged", worker.id, f"its process on {worker.host} cannot be seen from here"
