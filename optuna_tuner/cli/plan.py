"""What would be launched, for people and for programs. On stdout."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from optuna_tuner.cli.output import dump
from optuna_tuner.cli.session import Session
from optuna_tuner.results.wording import number, span

LONG_TEXT = 1000  # characters; a longer one is a file

if TYPE_CHECKING:
    from optuna_tuner.search.extra_runs import ExtraRuns
    from optuna_tuner.tuner import Plan
    from optuna_tuner.values import Json, Request


def show_plan(session: Session, plan: Plan, output: str) -> None:
    """Print a plan."""
    if output != "table":
        dump(plan, output)
        return
    spec = plan.spec
    size = number(plan.space_size) if math.isfinite(plan.space_size) else "infinitely many"
    session.out.print(
        f"Study {spec.name}: {spec.engine.kind} on {spec.deployer.kind}, {spec.benchmark.kind}", style="bold"
    )
    if plan.notice:
        session.out.print(plan.notice, style="yellow", soft_wrap=True)
    left_out = f", {plan.left_out} of them left out: they are known not to run" if plan.left_out else ""
    most = "" if spec.budget.plateau is None else "At most "
    session.out.print(f"{most}{plan.trials} trials of {size} configurations{left_out}")
    session.out.print(_again(plan.extra), soft_wrap=True)
    estimate = "not known before the first trial" if plan.estimate_s is None else f"about {span(plan.estimate_s)}"
    session.out.print(f"Time left with one worker: {estimate}; at most {span(plan.at_most_s)} by the study's limits")
    session.out.print(f"Slots: {', '.join(slot.name for slot in plan.slots)}")
    if plan.beyond_speed:
        session.out.print(f"Beside the speed: {plan.beyond_speed}", soft_wrap=True)
    sources = {"an older study": plan.warm_start, "aiconfigurator": plan.prior}
    for source, line in ((source, line) for source, lines in sources.items() for line in lines):
        session.out.print(f"From {source}: {line}", soft_wrap=True)
    if plan.expected:
        flags = ", ".join(plan.expected)
        session.out.print(f"Begins with the engine's guide, until trials say otherwise, of: {flags}", soft_wrap=True)
    titles = [*["The engine's own default"] * spec.baseline, *["Tried first"] * len(spec.first)]
    for place, launch in enumerate(plan.launches):
        title = titles[place] if place < len(titles) else "An example from the space"
        session.out.print(f"\n{title}", style="bold")
        _show_request(session, launch)
        for remark in plan.remarks[place]:
            session.out.print(f"  Known: {remark}", soft_wrap=True)
    if plan.load_client is not None:
        session.out.print("\nThe load client of the first", style="bold")
        dump(_shortened(dict(plan.load_client.body)), "yaml")
    session.note("\nThe complete requests, as the deployer will send them: the same command with -o yaml")
    for warning in plan.warnings:
        session.note(f"Warning: {warning}")


def _shortened(value: Json) -> Json:
    """Without whole files."""
    if isinstance(value, str):
        return value if len(value) < LONG_TEXT else f"({len(value)} characters)"
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    return [_shortened(each) for each in value] if isinstance(value, list) else value


def _again(extra: ExtraRuns) -> str:
    """What is measured again, and how many runs that is."""
    if not extra.least:
        return "Measured again: nothing; a gain is then a single measurement (see confirm and baseline_every)"
    parts = {
        "the default, between trials": extra.controls,
        "each of the best, twice where they are close": extra.reruns,
        "winner and default, in pairs": 2 * extra.pairs,
    }
    said = "; ".join(f"{count} x {what}" for what, count in parts.items() if count)
    if extra.simpler:
        said += f"; after a win up to {extra.simpler} x {2 * extra.pairs} x one with fewer flags and winner, in pairs"
    most = "" if extra.most == extra.least else f" to {extra.most}"
    return f"Measured again, beside these trials: {said}: {extra.least}{most} runs more"


def _show_request(session: Session, request: Request) -> None:
    """The command line and its environment as a shell takes them, where the deployer sends them; else all it sends."""
    argv = request.body.get("argv")
    if isinstance(argv, list):
        command = shlex.join(str(word) for word in argv)
        # Secrets stay references, here to the variables of whoever runs it.
        settings = [f"{name}={shlex.quote(value)}" for name, value in _texts(request, "env").items()]
        settings += [f'{name}="${source}"' for name, source in _texts(request, "secrets").items()]
        lines = [" ".join(settings), command] if settings else [command]
        stdin = request.body.get("stdin")
        given = f" <<'EOF'\n{stdin}EOF" if isinstance(stdin, str) else ""
        session.out.print("  " + " \\\n  ".join(lines) + given, soft_wrap=True, markup=False, highlight=False)
    else:
        dump(request.body, "yaml")


def _texts(request: Request, key: str) -> Mapping[str, str]:
    """A part of a request that maps names to texts; empty where the deployer has none."""
    found = request.body.get(key)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}
