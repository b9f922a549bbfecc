"""How our commands look: an example in every help, and global options before or behind the command."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click

from optuna_tuner.cli.session import Session

Function = Callable[..., None]


class Command(click.Command):
    """A command whose help ends with an example."""

    example = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        _write_example(formatter, self.example)
        formatter.write_paragraph()
        formatter.write_text(
            f"Global options such as --storage are taken here too: {ctx.find_root().info_name} --help."
        )


class Group(click.Group):
    """A group whose help ends with an example."""

    example = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the example."""
        _write_example(formatter, self.example)


def command(*, example: str) -> Callable[[Function], Command]:
    """Make a command of a function; `example` is what its help ends with."""

    def make(function: Function) -> Command:
        made = click.command(cls=Command)(global_options(function, hidden=True))
        made.example = example
        return made

    return make


def global_options(function: Function, *, hidden: bool = False) -> Function:
    """Let a command or group take the global options."""
    option = partial(click.option, hidden=hidden, expose_value=False, callback=_keep)
    for add in (
        option("-v", "--verbose", count=True, help="Say what is being done; twice: everything."),
        option("-q", "--quiet", is_flag=True, help="Only data and errors."),
        option("--no-color", is_flag=True, help="No colours; the variable NO_COLOR does the same."),
        option(
            "--storage",
            metavar="URL",
            help="Database of all studies: sqlite:///FILE, postgresql://..., mysql://... "
            "[variable OPTUNA_TUNER_STORAGE; default: SQLite in the user's data folder]",
        ),
    ):
        function = add(function)
    return function


pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep(ctx: click.Context, param: click.Parameter, value: str | int | None) -> None:
    session = ctx.ensure_object(Session)
    if not value:
        return
    match param.name:
        case "storage":
            session.storage = str(value)
        case "no_color":
            session.color = ctx.find_root().color = False
        case "quiet":
            session.verbosity = -1
        case "verbose":
            session.verbosity = int(value)
            session.log()


def _write_example(formatter: click.HelpFormatter, example: str) -> None:
    with formatter.section("Example"):
        for line in example.splitlines():
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
