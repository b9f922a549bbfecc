"""Commands that measure again what an older study found: gate, rerun."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

import click

from optuna_tuner.cli.command import command
from optuna_tuner.cli.output import document_option, dump, print_rows
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from optuna_tuner.results.views import StudyView
    from optuna_tuner.spec.deriving import NewEngine
    from optuna_tuner.spec.study import StudySpec

Decorated = TypeVar("Decorated", bound=Callable[..., object])


class Given(TypedDict):
    """What both are told beside their question."""

    engine_version: str | None
    image: str | None
    program: str | None
    name: str | None
    workers: int
    dry_run: bool
    output: str


class Share(click.ParamType[float]):
    """A share between 0 and 1, also written as percent."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`5%` and `0.05` are one."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            self.fail(f"{text!r} is no share between 0 and 1: write 5% or 0.05", param, ctx)
        return share


def _run_options(function: Decorated) -> Decorated:
    """What gate and rerun have in common."""
    for add in (
        document_option,
        click.option("--dry-run", is_flag=True, help="Only show what would be launched."),
        click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Runs side by side."),
        click.option("--name", help="Of the study that this makes; default: the older one's and a number."),
        click.option("--command", "program", help="Another program and its first arguments, as a shell has them."),
        click.option("--image", help="Another container image."),
        click.option("--engine-version", help="Another version of the engine; renamed flags get their new names."),
    ):
        function = add(function)
    return function


@command(
    example="optuna-tuner gate my-study                            the same engine: is this machine still as fast?\n"
    "optuna-tuner gate my-study --engine-version 0.34.0 --command '/venvs/vllm-0.34.0/bin/vllm serve'\n"
    "optuna-tuner gate my-study --image vllm/vllm-openai:v0.34.0 --max-regression 3% -o json > gate.json\n"
    "optuna-tuner gate my-study-gate-1 --engine-version 0.34.0    against the figures of that gate"
)
@click.argument("study")
@click.option("--max-regression", type=Share(), default="5%", show_default=True, help="What the winner may lose.")
@click.option("--pairs", type=click.IntRange(2, 100), default=20, show_default=True, help="At most so many.")
@_run_options
@click.pass_context
def gate(ctx: click.Context, /, study: str, max_regression: float, pairs: int, **given: Unpack[Given]) -> None:
    """Say whether a winner holds with a newer engine, driver or image.

    The confirmed winner and the engine's own default are measured in pairs, back to back, until it is settled. The
    winner is judged against the default, now as then: so a slower machine is told from slower flags. Exit codes: 0 it
    held; 3 it regressed; 1 it cannot be told, and the last line says why; else as for run. An interrupted gate goes on
    with the same command.
    """
    from optuna_tuner.rechecks import GateOrder  # noqa: PLC0415  --help does without it

    session = ctx.ensure_object(Session)
    order = GateOrder(
        study=study, max_regression=max_regression, pairs=pairs, engine=_engine(given), name=given["name"]
    )
    ctx.exit(_work(session, session.tuner.gate_of(order), given))


@command(
    example="optuna-tuner rerun trial-7-bundle          on any machine, from the bundle alone\n"
    "optuna-tuner rerun my-study/7 --times 5\n"
    "optuna-tuner rerun trial-7-bundle --dry-run    what would it launch here?"
)
@click.argument("source", metavar="BUNDLE|STUDY[/TRIAL]")
@click.option("--times", type=click.IntRange(2, 100), default=3, show_default=True, help="So often it is measured.")
@_run_options
@click.pass_context
def rerun(ctx: click.Context, /, source: str, times: int, **given: Unpack[Given]) -> None:
    """Measure one trial again, and say whether it gives the same.

    SOURCE is the folder of a trial's bundle, or STUDY for its best, STUDY/baseline, STUDY/NUMBER. A bundle holds its
    study file, and a study file names programs: look at that of a stranger with --dry-run first. Says what surrounds it
    otherwise than then, and whether the figures agree within the noise. Exit codes: 0 they agree; 3 they do not; 1 it
    cannot be told; else as for run.
    """
    from optuna_tuner.rechecks import RerunOrder  # noqa: PLC0415  --help does without it

    session = ctx.ensure_object(Session)
    order = RerunOrder(source=source, times=times, engine=_engine(given), name=given["name"])
    ctx.exit(_work(session, session.tuner.rerun_of(order), given))


def _engine(given: Given) -> NewEngine:
    from optuna_tuner.spec.deriving import NewEngine  # noqa: PLC0415  --help does without it

    program = given["program"]
    try:
        words = None if program is None else tuple(shlex.split(program))
    except ValueError as error:
        raise click.BadParameter(f"{program!r}: {error}", param_hint="--command") from error
    if words == ():
        raise click.BadParameter("is empty: name a program", param_hint="--command")
    return NewEngine(version=given["engine_version"], image=given["image"], command=words)


def _work(session: Session, spec: StudySpec, given: Given) -> int:
    """Show what would be launched, or run it to its end; returns the exit code."""
    workers, output = given["workers"], given["output"]
    if given["dry_run"]:
        from optuna_tuner.cli.plan import show_plan  # noqa: PLC0415  only a dry run needs it

        show_plan(session, session.tuner.plan(spec, workers=workers), output)
        return 0
    from optuna_tuner.cli.follow import follow  # noqa: PLC0415  rich is not for every command

    session.note(f'Study "{spec.name}": {spec.notice}')
    show = _show if output == "table" else partial(_dump, output=output)
    return follow(session, spec.name, partial(session.tuner.run, spec, workers=workers), show)


def _show(session: Session, view: StudyView) -> None:
    from optuna_tuner.cli.panel import show_results  # noqa: PLC0415  rich is not for every command

    show_results(session, view)


def _dump(session: Session, view: StudyView, output: str) -> None:
    from optuna_tuner.results.rechecked import recheck_document  # noqa: PLC0415  it brings Optuna

    changes = [change._asdict() for change in session.tuner.changed(view.name)]
    dump({"name": view.name, **(recheck_document(view) or {}), "changed": changes}, output)


def show_recheck(session: Session, view: StudyView) -> None:
    """What a gate or a rerun found: figures of then and now, what changed around them, and what it means."""
    from optuna_tuner.results.rechecked import recheck_text, rows  # noqa: PLC0415  as above
    from optuna_tuner.results.wording import exact, measured, percent  # noqa: PLC0415  as above

    session.out.print()
    if figures := rows(view):
        said = [
            (
                row.who,
                row.metric,
                measured(row.metric, row.then),
                measured(row.metric, row.now),
                "" if row.share is None else percent(row.share),
            )
            for row in figures
        ]
        print_rows(session, ("", "metric", "then", "now", "change"), said)
    if changes := session.tuner.changed(view.name):
        session.out.print("\nWhat surrounds it otherwise than then", style="bold")
        print_rows(session, ("", "then", "now"), [(each.name, *map(exact, each[1:])) for each in changes])
    session.out.print(f"\n{recheck_text(view)}", soft_wrap=True)
