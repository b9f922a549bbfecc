"""Progress on stderr: a live view on a terminal, else one line for each trial that ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import TYPE_CHECKING

import click
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from optuna_tuner.cli.session import Session
from optuna_tuner.results.wording import endings, measured, settings, span

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optuna_tuner.results.views import StudyView, TrialView

COLOURS = {
    "feasible": "green",
    "infeasible": "yellow",
    "pruned": "yellow",
    "failed": "red",
    "stopped": "red",
    "repeated": "bright_black",
}
WAITING = ("queued", "running")
LONGEST_REASON = 120  # characters; `show` has all of it
SHOWN = 8  # trials at the foot of the live view


@contextmanager
def progress(session: Session) -> Iterator[Callable[[StudyView], None]]:
    """A function that shows a study each time it is called; what it showed last stays on the screen."""
    if session.quiet:
        yield lambda _: None
    elif session.err.is_terminal:
        with Live(console=session.err, refresh_per_second=4) as live:
            yield lambda view: live.update(live_view(view))
    else:
        yield Lines()


class Lines:
    """One line for each trial that ended, in the order in which that was seen."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, view: StudyView) -> None:
        """Print the trials that ended since the last call."""
        for trial in view.trials:
            if trial.state not in WAITING and trial.attempt_id not in self._seen:
                self._seen.add(trial.attempt_id)
                click.echo(f"[{view.spent}/{view.budget}] {trial_line(view, trial)}{_best(view, trial)}", err=True)


def trial_line(view: StudyView, trial: TrialView) -> str:
    """How one trial ended, in one line."""
    if trial.repeats:
        return f"{trial.name} {trial.state.value}: {settings(trial.params)}: {trial.repeats}"
    metrics = [objective.metric for objective in view.spec.goals.objectives]
    values = [f"{metric} {measured(metric, value)}" for metric, value in zip(metrics, trial.values, strict=False)]
    said = (
        values if trial.feasible else [*values, f"{trial.cause.value}: {_brief(trial.reason)}" if trial.cause else ""]
    )
    flags = settings(trial.params)
    if trial.role:
        flags = f"({trial.role}) {flags}".rstrip()
    took = "" if trial.duration_s is None else f" in {span(trial.duration_s)}"
    return f"{trial.name} {trial.state.value}{took}: {flags}: {'; '.join(filter(None, said))}"


def _brief(reason: str) -> str:
    return shorten(reason, LONGEST_REASON, placeholder=" ...")


def _best(view: StudyView, trial: TrialView) -> str:
    """Nothing for what is measured again: there is no search any more whose best could change."""
    if trial.kind.again:
        return ""
    best = view.best.trial
    if best is None:
        return "; nothing feasible yet"
    metric = view.spec.goals.objectives[0].metric
    return f"; best so far: trial {best.number}, {measured(metric, best.values[0])}"


def live_view(view: StudyView) -> RenderableType:
    """Where the study stands, as one picture."""
    return Group(_head(view), _bar(view), Text(view.best.text), Text(_causes(view), style="yellow"), _trials(view))


def _head(view: StudyView) -> Text:
    eta = f", about {span(view.eta_s)} left" if view.eta_s is not None else ""
    workers = f"{view.workers} worker{'' if view.workers == 1 else 's'}"
    return Text.assemble(
        (view.name, "bold"), f"  {_stage(view)}  {span(view.elapsed_s)}{eta}  {workers}", overflow="ellipsis"
    )


def _stage(view: StudyView) -> str:
    baseline = view.baseline
    if view.state == "running" and baseline is not None and baseline.state in WAITING:
        return "baseline: the engine's own default"
    if view.state == "running":
        return "search" if view.spent < view.budget else "measuring again"
    return f"{view.state.value}: {_brief(view.ended_because)}" if view.ended_because else view.state.value


def _bar(view: StudyView) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_row(
        ProgressBar(total=view.budget, completed=view.spent, width=40), f"{view.spent}/{view.budget}", endings(view)
    )
    return row


def _causes(view: StudyView) -> str:
    return ", ".join(f"{count} x {cause.value}" for cause, count in view.causes.items())


def _trials(view: StudyView) -> Table:
    grid = Table.grid(padding=(0, 1))
    ended = [trial for trial in view.trials if trial.state not in WAITING]
    running = [trial for trial in view.trials if trial.state == "running"]
    for trial in ended[-SHOWN:]:
        grid.add_row(Text(trial_line(view, trial), COLOURS[trial.state], no_wrap=True, overflow="ellipsis"))
    for trial in running:
        phase = f", {trial.phase.value}" if trial.phase else ""
        line = f"{trial.name} running{phase} on {trial.slot or 'a slot'}: {settings(trial.params)}"
        grid.add_row(Text(line, "cyan", no_wrap=True, overflow="ellipsis"))
    return grid
