"""Plotly figures of a study, for the dashboard and for reports. Plotly is imported only when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from optuna_tuner.metrics import unit
from optuna_tuner.results.best import value_of
from optuna_tuner.results.importance import Importance
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.values import Phase

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BEST_COLOUR = "#1565c0"
BASELINE_COLOUR = "#e65100"
FEASIBLE_COLOUR = "#2e7d32"
GREY = "#9e9e9e"
PHASE_COLOURS = {
    Phase.QUEUE: GREY,
    Phase.START_UP: "#6a1b9a",
    Phase.WARM_UP: BASELINE_COLOUR,
    Phase.QUALITY: "#00838f",
    Phase.BENCHMARK: BEST_COLOUR,
    Phase.TEARDOWN: "#546e7a",
}
LOAD_METRICS = ("output_throughput_tok_s", "ttft_ms.p99")


def _figure(title: str, x: str, y: str) -> Figure:
    import plotly.graph_objects as go  # noqa: PLC0415  plotly takes most of a second to import

    # The default template is 7 KB of colours, which would be stored with every figure.
    return go.Figure(
        layout={"template": "none", "title": {"text": title}, "xaxis": {"title": {"text": x}}, "yaxis": _axis(y)}
    )


def plain(x: str, y: str) -> Figure:
    """An empty figure with named axes."""
    return _figure("", x, y)


def _axis(title: str) -> dict[str, object]:
    return {"title": {"text": title}, "automargin": True, "rangemode": "tozero"}


def named(metric: str) -> str:
    """A metric's name with its unit, for an axis."""
    return metric if unit(metric) == "1" else f"{metric} [{unit(metric)}]"


def history(study: StudyView, place: int = 0) -> Figure:
    """Every trial's value of one objective, the best so far, and the baseline's line; infeasible ones are grey.

    What was measured again is drawn apart: the default's runs show how the machine drifts.
    """
    objective = study.spec.goals.objectives[place]
    figure = _figure(f"{objective.metric}: trials, best so far, default", "trial", named(objective.metric))
    own = [trial for trial in study.trials if trial.same_as is None]
    known = [(trial, value) for trial in own if (value := value_of(trial, place, objective)) is not None]
    measured = [(trial, value) for trial, value in known if not trial.kind.again]
    again = [(trial, value) for trial, value in known if trial.kind.again]
    feasible = [(trial, value) for trial, value in measured if trial.feasible]
    infeasible = [(trial, value) for trial, value in measured if not trial.feasible]
    _points(figure, infeasible, "not feasible", GREY)
    _points(figure, feasible, "feasible", FEASIBLE_COLOUR)
    better = max if objective.direction == "maximize" else min
    best = [better(value for _, value in feasible[: count + 1]) for count in range(len(feasible))]
    numbers = [trial.number for trial, _ in feasible]
    figure.add_scatter(x=numbers, y=best, mode="lines", name="best so far", line={"shape": "hv", "color": BEST_COLOUR})
    if again:
        _points(figure, [each for each in again if not each[0].params], "default again", BASELINE_COLOUR)
        _points(figure, [each for each in again if each[0].params], "one of the best again", BEST_COLOUR)
    baseline = value_of(study.baseline, place, objective) if study.baseline else None
    if baseline is not None:
        figure.add_hline(y=baseline, line={"dash": "dash", "color": BASELINE_COLOUR}, annotation_text="default")
    return figure


def _points(figure: Figure, points: Sequence[tuple[TrialView, float]], name: str, colour: str) -> None:
    figure.add_scatter(
        x=[trial.number for trial, _ in points],
        y=[value for _, value in points],
        text=[f"{trial.name}: {trial.cause or trial.state}<br>{_params(trial)}" for trial, _ in points],
        mode="markers",
        name=name,
        marker={"color": colour, "size": 9, "symbol": "x" if colour == GREY else "circle"},
        hovertemplate="%{y:.5g}<br>%{text}<extra></extra>",
    )


def _params(trial: TrialView) -> str:
    shown = (escape(f"{name}={value}") for name, value in trial.params.items())  # plotly reads some of HTML
    return "<br>".join(shown) or "the engine's default"


def load_curves(study: StudyView, metric: str) -> Figure:
    """One metric against the load, a line a trial: the best and the baseline in colour, the others grey."""
    figure = _figure(f"{metric} against load", "load (requests in flight, or requests a second)", named(metric))
    best, baseline = study.best.trial, study.baseline
    marked = {trial.attempt_id for trial in (best, baseline) if trial}
    for trial in study.trials:
        if trial.attempt_id not in marked:
            _curve(figure, trial, metric, GREY)
    if baseline:
        _curve(figure, baseline, metric, BASELINE_COLOUR)
    if best and best is not baseline:
        _curve(figure, best, metric, BEST_COLOUR)
    return figure


def _curve(figure: Figure, trial: TrialView, metric: str, colour: str) -> None:
    levels = [level for level in trial.measurements if metric in level.metrics]
    if trial.load_search:  # a search goes to and fro
        levels.sort(key=lambda level: level.load.value)
    role = {BEST_COLOUR: "best: ", BASELINE_COLOUR: "default: "}.get(colour, "")
    if levels:
        figure.add_scatter(
            x=[level.load.value for level in levels],
            y=[level.metrics[metric] for level in levels],
            text=[str(level.load) for level in levels],
            mode="lines+markers",
            name=f"{role}{trial.name}",
            line={"color": colour, "width": 3 if role else 1},
            opacity=1.0 if role else 0.5,
            hovertemplate="%{text}: %{y:.5g}",
        )


def causes(study: StudyView) -> Figure:
    """Why trials gave no feasible score: one bar a cause, with its advice."""
    figure = _figure("Why trials failed", "trials", "")
    figure.add_bar(
        x=list(study.causes.values()),
        y=[cause.value for cause in study.causes],
        text=[study.advice(cause) for cause in study.causes],
        textposition="none",
        hovertemplate="%{x} x %{y}: %{text}<extra></extra>",
        orientation="h",
        marker={"color": GREY},
    )
    return figure.update_xaxes(dtick=1 if max(study.causes.values(), default=0) <= len(study.trials) else None)


def phase_times(study: StudyView) -> Figure:
    """Where the time went: one stacked bar a trial, seconds by phase."""
    figure = _figure("Where the time went", "trial", "seconds")
    ended = [trial for trial in study.trials if trial.phases_s and trial.state is not TrialState.RUNNING]
    for phase in Phase:
        seconds = [trial.phases_s.get(phase, 0.0) for trial in ended]
        if any(seconds):
            numbers = [trial.number for trial in ended]
            colour = PHASE_COLOURS[phase]
            figure.add_bar(x=numbers, y=seconds, name=phase.value.replace("_", "-"), marker={"color": colour})
    return figure.update_layout(barmode="stack")


def importance(found: Importance, metric: str) -> Figure:
    """One bar a flag; the title says by which method, since they mean different things."""
    figure = _figure(f"What mattered for {metric}<br><sup>{found.method}</sup>", "share", "")
    names = list(found.shares)[::-1]  # plotly draws the first bar at the bottom
    shares = [found.shares[name] for name in names]
    figure.add_bar(x=shares, y=names, orientation="h", marker={"color": BEST_COLOUR}, texttemplate="%{x:.2f}")
    return figure
