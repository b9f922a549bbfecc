"""The `optuna-tuner` command: its families of commands, loaded when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType

import click

from optuna_tuner.cli.command import Group, global_options
from optuna_tuner.cli.faults import exit_codes
from optuna_tuner.cli.session import Session

# Section of the help -> command -> the module that holds it, under the command's own name.
SECTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "Begin": {"demo": "demo", "doctor": "system", "presets": "files", "init": "files"},
        "Study files": {
            "validate": "files",
            "plan": "running",
            "convert": "files",
            "schema": "files",
            "plugins": "files",
            "catalog": "catalog",
            "fit": "fit",
            "ome": "ome",
        },
        "Run": {
            "run": "running",
            "bench": "bench",
            "confirm": "running",
            "gate": "recheck",
            "rerun": "recheck",
            "worker": "running",
            "resume": "running",
            "pause": "running",
            "stop": "running",
            "cancel": "running",
        },
        "Look": {
            "studies": "studies",
            "trials": "studies",
            "best": "studies",
            "show": "reading",
            "results": "reading",
            "why": "why",
            "compare": "compare",
            "watch": "reading",
            "logs": "reading",
            "dashboard": "system",
        },
        "Take home": {
            "report": "report",
            "export": "export",
            "bundle": "bundle",
            "summarize": "bundle",
            "track": "track",
        },
        "Keep house": {"reap": "reaping", "db": "database", "completion": "system"},
    }
)
MODULES: Mapping[str, str] = {name: module for section in SECTIONS.values() for name, module in section.items()}
LONGEST = 70  # characters of a command's first sentence: it fits on one line beside the name


class Families(Group):
    """Finds commands in their modules, so that a command pays only for its own imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """All commands, in the order of the help."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import the module of one command."""
        if cmd_name not in MODULES:
            return None
        command: click.Command = getattr(import_module(f"optuna_tuner.cli.{MODULES[cmd_name]}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what a misspelt command was meant to be."""
        if args[0] not in MODULES and not args[0].startswith("-"):
            near = get_close_matches(args[0], MODULES, n=1)
            guess = f' Did you mean "{near[0]}"?' if near else " See optuna-tuner --help."
            ctx.fail(f'There is no command "{args[0]}".{guess}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each family."""
        width = max(map(len, MODULES))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                found = [(name, self.get_command(ctx, name)) for name in commands]
                formatter.write_dl(
                    [(name.ljust(width), command.get_short_help_str(LONGEST)) for name, command in found if command]
                )

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; every error becomes a message and an exit code, here and nowhere else."""
        with exit_codes(ctx):
            return super().invoke(ctx)


@click.group(cls=Families, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="optuna-tuner", message="%(prog)s %(version)s")
@global_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Find the server flags that serve the most users within the latency promise.

    Optuna chooses the flags of an LLM inference server; each trial deploys it, loads it and scores it.

    Exit codes: 0 done; 1 it ran, but nothing feasible was found, or a gate cannot tell; 2 the command line, a file or a
    name is wrong; 3 a gate or a rerun is not met, or a worker was taken for dead; 4 the database or this machine lacks
    something; 130 interrupted.
    """
    if not ctx.ensure_object(Session).color:
        ctx.color = False


cli.example = (
    "optuna-tuner demo                  watch a real server being tuned, in minutes\n"
    "optuna-tuner init study.yaml       write a study file to start from\n"
    "optuna-tuner run study.yaml        tune; run it again to resume\n"
    "optuna-tuner results my-study      what was found, and what it is worth"
)
