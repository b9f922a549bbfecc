"""The whole story on the embedded server: demo."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command
from optuna_tuner.cli.session import Session
from optuna_tuner.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from optuna_tuner.spec.study import StudySpec

PRESET = "embedded"
QUICK_TRIALS = 6
QUICK_LOAD = {"concurrency": [4], "requests": 16}
STORY = """\
What happens now: llama.cpp's own server, with a small model that is made on this machine, is tuned by {trials}
trials. Each one starts the server with other flags, loads it with {tool}, reads the figures and
ends it. Trial 0 is the server's own default; some flags do not work, and the search learns from that.
It takes about {minutes} on two cores. Ctrl-C ends it cleanly; the same command goes on, or shows the results again.
Everything stays in {storage}
"""


@command(
    example="optuna-tuner demo            with genai-bench, which is installed first if it is missing\n"
    "optuna-tuner demo --quick    a few trials with the built-in load client"
)
@click.option("--quick", is_flag=True, help="Fewer trials, and the built-in load client instead of genai-bench.")
@click.option("--yes", is_flag=True, help="Install what is missing without asking.")
@click.pass_context
def demo(ctx: click.Context, *, quick: bool, yes: bool) -> None:
    """Watch a real server being tuned, here and without a GPU.

    Nothing but genai-bench is downloaded: the server comes with the package, the model is made on this machine.
    """
    session = ctx.ensure_object(Session)
    _demand_embedded_server()
    spec = demo_study(quick=quick)
    session.note(
        STORY.format(
            trials=spec.budget.trials,
            tool="the built-in client" if quick else "genai-bench",
            minutes="a minute" if quick else "4 minutes",
            storage=_without_password(session.tuner.storage),
        )
    )
    if not quick:
        _get_genai_bench(session, ask=not yes)
    from optuna_tuner.cli.follow import run_and_follow  # noqa: PLC0415  --help must not pay for rich

    ctx.exit(run_and_follow(session, spec, workers=1))


def demo_study(*, quick: bool) -> StudySpec:
    """The study of the demo: the embedded preset, loaded by genai-bench, or in short by the built-in client."""
    from optuna_tuner.plugins import InstalledKinds  # noqa: PLC0415  --help must not pay for pydantic
    from optuna_tuner.presets.shelf import preset_text  # noqa: PLC0415  likewise
    from optuna_tuner.spec.files import check_study, parse_study  # noqa: PLC0415  likewise
    from optuna_tuner.spec.study import Part  # noqa: PLC0415  likewise

    preset = parse_study(preset_text(PRESET), PRESET, InstalledKinds())
    if not quick:
        return preset.model_copy(update={"name": "demo"})
    load = {**preset.benchmark.options, **QUICK_LOAD, "kind": "http"}
    changes = {
        "name": "demo-quick",
        "benchmark": Part.model_validate(load),
        "budget": preset.budget.model_copy(update={"trials": QUICK_TRIALS}),
    }
    spec = preset.model_copy(update=changes)
    check_study(spec, InstalledKinds())
    return spec


def _demand_embedded_server() -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        raise EnvironmentFaultError("the embedded server is missing: pip install 'optuna-tuner[embedded]'")


def _get_genai_bench(session: Session, *, ask: bool) -> None:
    from optuna_tuner.cli.install import install_tool  # noqa: PLC0415  likewise
    from optuna_tuner.other_programs import GENAI_BENCH  # noqa: PLC0415  --quick does without it

    if GENAI_BENCH.executable().find(None):
        return
    where = f"genai-bench is missing. Install it into {GENAI_BENCH.folder()} (about 1.3 GB)?"
    if ask and sys.stdin.isatty():
        click.confirm(where, default=True, abort=True, err=True)
    install_tool(session, GENAI_BENCH.name)


def _without_password(url: str) -> str:
    from optuna_tuner.store import urls  # noqa: PLC0415  it brings SQLAlchemy with it

    return urls.masked(urls.parse(url))
