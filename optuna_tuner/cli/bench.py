"""One configuration, or a server that runs already, under several loads: bench."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from optuna_tuner.cli.command import command
from optuna_tuner.cli.faults import Exit
from optuna_tuner.cli.running import STUDY_FILE
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from optuna_tuner.spec.goals import Constraint
    from optuna_tuner.spec.study import StudySpec
    from optuna_tuner.tuning.bench import Wanted
    from optuna_tuner.values import Scalar

RECIPE_NAMES = ("quick", "standard", "sizes", "rates")
CLIENTS = ("http", "genai_bench", "guidellm", "vllm_bench")
BOUND = re.compile(r"\s*([\w.]+)\s*(<=|>=)\s*([0-9.eE+-]+)\s*")


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Numbers with commas between them; whole ones stay whole."""
    if value is None:
        return None
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f'"{value}" is no list such as 1,2,4,8', ctx, param) from error
    return tuple(int(each) if each.is_integer() else each for each in found)


class Server(TypedDict):
    """Where a server runs already."""

    url: str | None
    model: str | None
    api_key_env: str | None
    tokenizer: str | None


class Asked(Server):
    """All options."""

    name: str | None
    recipe: str | None
    scenario: tuple[str, ...]
    concurrency: tuple[float, ...] | None
    rate: tuple[float, ...] | None
    requests: int | None
    repeat: int | None
    warm_up: int | None
    client: str | None
    flag: tuple[str, ...]
    slo: tuple[str, ...]


@command(
    example="optuna-tuner bench study.yaml --recipe standard --slo 'ttft_ms.p99<=500' -o bench\n"
    "optuna-tuner bench study.yaml --flag max_num_seqs=64 --concurrency 1,4,16,64 --repeat 3\n"
    "optuna-tuner bench --url http://127.0.0.1:8000/v1 --model my-model --recipe sizes\n"
    "optuna-tuner bench --url https://llm.example/v1 --model big --api-key-env MY_KEY --rate 0.5,1,2,4"
)
@click.argument("file", type=STUDY_FILE, required=False)
@click.option("--url", help="Of a server that runs already; it is neither started nor stopped.")
@click.option("--model", help="With --url: the model's name there.")
@click.option("--api-key-env", metavar="VARIABLE", help="With --url: the environment variable that holds the key.")
@click.option("--tokenizer", help="With --url: folder of the model's tokenizer; else the server's counts are used.")
@click.option("--name", help="Of the benchmark; default: FILE's study and -bench, or bench- and the model.")
@click.option("--recipe", type=click.Choice(RECIPE_NAMES), help="Loads to start from; default: FILE's, else quick.")
@click.option("--scenario", multiple=True, help="Tokens in and out, as D(256,128); repeat it for several sizes.")
@click.option("--concurrency", metavar="N,N,...", callback=_numbers, help="Requests in flight: a level each.")
@click.option("--rate", metavar="N,N,...", callback=_numbers, help="Requests a second, in an open loop: a level each.")
@click.option("--requests", type=click.IntRange(min=1), help="Of each level.")
@click.option("--repeat", type=click.IntRange(1, 100), help="Rounds over all levels; figures are their means.")
@click.option("--warm-up", type=click.IntRange(min=0), help="Requests before the first level, not measured.")
@click.option("--client", type=click.Choice(CLIENTS), help="Load client; default: FILE's, else http.")
@click.option("--flag", multiple=True, metavar="NAME=VALUE", help="With FILE: a flag of the server. Repeatable.")
@click.option("--slo", multiple=True, metavar="METRIC<=X", help="What each load must keep. Repeatable.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to make: report, and the bundle in it.")
@click.option("--no-plots", is_flag=True, help="With -o: leave plots/*.png out; they need Chromium or Chrome.")
@click.pass_context
def bench(
    ctx: click.Context, /, file: Path | None, output: Path | None, *, no_plots: bool, **asked: Unpack[Asked]
) -> None:
    """Measure one configuration under several loads.

    Of a study FILE: its engine's default, or with --flag another configuration. With --url: a server that runs
    already, as it is. There is no search; else all is as in a study: the server is started, warmed up, loaded level by
    level, watched and taken down. Ctrl-C leaves nothing behind; the same command begins it again, or shows what was
    measured.

    Exit code 0 when a load keeps every --slo, 1 when none does or it failed, 130 when interrupted.
    """
    session = ctx.ensure_object(Session)
    if (file is None) == (asked["url"] is None):
        raise click.UsageError("give a study FILE, or --url of a server that runs already")
    if asked["url"] and not asked["model"]:
        raise click.UsageError("--url needs --model: the model's name at that server")
    if output is not None and output.exists():
        raise click.UsageError(f"{output} is there already; give another folder")
    spec = _spec(session, file, asked)
    from optuna_tuner.cli.bench_result import run_bench, save  # noqa: PLC0415  rich is not for every command

    view = run_bench(session, spec)
    if output is not None:
        save(session, view, output, plots=not no_plots)
    ctx.exit(Exit.DONE if view.best.trials else Exit.NOTHING_FEASIBLE)


def _spec(session: Session, file: Path | None, asked: Asked) -> StudySpec:
    from optuna_tuner.tuning.bench import Running  # noqa: PLC0415  it brings pydantic

    wanted = _wanted(asked)
    if file is not None:
        return session.tuner.benchmark_of(file, wanted)
    server = Running(
        url=asked["url"] or "",
        model=asked["model"] or "",
        key_variable=asked["api_key_env"] or "",
        tokenizer=asked["tokenizer"],
    )
    return session.tuner.benchmark_of(server, wanted)


def _wanted(asked: Asked) -> Wanted:
    from optuna_tuner.tuning.bench import Wanted  # noqa: PLC0415  as above

    options: Mapping[str, JsonValue] = {
        "scenario": list(asked["scenario"]) or None,
        "concurrency": list(asked["concurrency"] or ()) or None,
        "request_rate": list(asked["rate"] or ()) or None,
        "requests": asked["requests"],
        "repeat": asked["repeat"],
        "warm_up_requests": asked["warm_up"],
    }
    return Wanted(
        name=asked["name"] or "",
        recipe=asked["recipe"] or "",
        load={name: value for name, value in options.items() if value is not None},
        client=asked["client"] or "",
        flags=dict(map(_flag, asked["flag"])),
        slo=tuple(map(_bound, asked["slo"])),
    )


def _flag(text: str) -> tuple[str, Scalar]:
    from optuna_tuner.own_data import read_yaml  # noqa: PLC0415  only who gives flags pays for it

    name, given, value = text.partition("=")
    found = read_yaml(value) if given else None
    if not name or not isinstance(found, bool | int | float | str):
        raise click.BadParameter(f'"{text}" is no NAME=VALUE', param_hint="--flag")
    return name, found


def _bound(text: str) -> Constraint:
    from optuna_tuner.spec.goals import Constraint  # noqa: PLC0415  as above

    found = BOUND.fullmatch(text)
    try:
        value = float(found[3]) if found else 0.0
    except ValueError:
        found = None
    if found is None:
        raise click.BadParameter(f'"{text}" is no bound; write ttft_ms.p99<=500', param_hint="--slo")
    return (
        Constraint(metric=found[1], at_most=value) if found[2] == "<=" else Constraint(metric=found[1], at_least=value)
    )
