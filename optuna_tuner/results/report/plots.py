"""The figures of a report: those of the dashboard, without their own titles and colours, and some of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from optuna_tuner.results import figures
from optuna_tuner.results.importance import FANOVA, MOST_TRIALS, Importance
from optuna_tuner.results.report.document import Curve, FailureCell, ImportanceRow, ParetoPoint, Plot
from optuna_tuner.results.report.hypervolumes import hypervolumes
from optuna_tuner.results.report.load import said, tail_of, throughput_of
from optuna_tuner.results.trials import TrialState
from optuna_tuner.results.views import StudyView

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

WIDTH = 680  # pixels: a printed A4 page holds it
HEIGHT = 340
ROW = 26  # pixels of one bar or line of a map
BROKEN_COLOUR = "#c62828"
KNEE_COLOUR = "#ab47bc"
SHARES = [[0, "rgba(198, 40, 40, 0.04)"], [1, "rgba(198, 40, 40, 0.85)"]]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is known beside the study itself, under the names that it has in the report."""

    curves: tuple[Curve, ...]
    pareto_per: Literal["GPU", "server"]
    pareto: tuple[ParetoPoint, ...]
    importance: tuple[ImportanceRow, ...]
    failures: tuple[FailureCell, ...]


def all_of(study: StudyView, found: Findings) -> tuple[Plot, ...]:
    """Every figure that has something to show."""
    return (
        *_load(study, found.curves),
        *_pareto(study, found.pareto, found.pareto_per),
        *_history(study),
        *_importance(found.importance),
        *_failures(found.failures),
        *_times(study),
    )


def _plot(name: str, title: str, caption: str, figure: Figure, height: int = HEIGHT) -> Plot:
    """A figure without what the page says itself: its title, its colours for paper and text, its size on screen."""
    figure.update_layout(
        title=None,
        width=WIDTH,
        height=height,
        margin={"l": 70, "r": 20, "t": 20, "b": 55},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    drawn: Mapping[str, JsonValue] = json.loads(figure.to_json())
    return Plot(id=name, title=title, caption=caption, plotly=drawn)


def _load(study: StudyView, curves: Sequence[Curve]) -> Iterator[Plot]:
    """Throughput and tail latencies against the load: every latency that the SLO bounds, else the first."""
    if not any(len(curve.rows) > 1 for curve in curves):
        return
    rows = [row for curve in curves for row in curve.rows]
    tails = tail_of(rows, study.spec.goals)
    bounds = {each.metric: each.at_most for each in study.spec.goals.constraints if each.at_most is not None}
    for metric in throughput_of(rows)[:1]:
        yield _load_curve(study, curves[0], metric, curves[0].knee, None)
    for metric in [each for each in tails if each in bounds] or tails[:1]:
        bend = curves[0].latency_knee if metric == tails[0] else None
        yield _load_curve(study, curves[0], metric, bend, bounds.get(metric))


def _load_curve(study: StudyView, first: Curve, metric: str, knee: float | None, bound: float | None) -> Plot:
    """The first curve's knee and the bound are marked; trials that are neither best nor default have no name."""
    figure = figures.load_curves(study, metric)
    figure.update_traces(showlegend=False, selector=lambda trace: trace.line.color == figures.GREY)
    figure.update_xaxes(title=f"load ({first.unit})")
    if bound is not None:
        line = {"dash": "dash", "color": BROKEN_COLOUR}
        figure.add_hline(y=bound, line=line, annotation_text=f"SLO {bound:g}")
    if knee is not None:
        line = {"dash": "dot", "color": KNEE_COLOUR}
        figure.add_vline(x=knee, line=line, annotation_text="knee", annotation_position="bottom right")
    bend = f"it bends at {said(knee, first)} (knee, by Kneedle)" if knee is not None else "no knee seen"
    caption = f"Of the {first.role}: {bend}. Grey: the other trials."
    return _plot(f"load-{metric}", f"{figures.named(metric)} against load", caption, figure)


def _pareto(study: StudyView, points: Sequence[ParetoPoint], per: str) -> Iterator[Plot]:
    if not points:
        return
    figure = figures.plain("speed for one user [tok/s/user]", f"output throughput [tok/s/{per}]")
    best = study.best.trial.number if study.best.trial else None
    base = study.baseline.number if study.baseline else None
    groups = {
        "not within the SLO": (figures.GREY, "x", [each for each in points if not each.keeps_slo]),
        "within the SLO": (figures.FEASIBLE_COLOUR, "circle", [each for each in points if each.keeps_slo]),
        "default": (figures.BASELINE_COLOUR, "circle-open", [each for each in points if each.trial == base]),
        "best": (figures.BEST_COLOUR, "circle-open", [each for each in points if each.trial == best != base]),
    }
    for name, (colour, symbol, members) in groups.items():
        if members:
            ring = {"size": 13, "line": {"width": 2}} if "open" in symbol else {"size": 8, "line": {"width": 0}}
            _cloud(figure, members, name, {"color": colour, "symbol": symbol, **ring})
    front = sorted((each for each in points if each.front), key=lambda each: each.tok_s_user)
    figure.add_scatter(
        x=[each.tok_s_user for each in front],
        y=[each.tok_s for each in front],
        mode="lines",
        name="front",
        line={"color": figures.FEASIBLE_COLOUR, "width": 2},
        hoverinfo="skip",
    )
    yield _plot("pareto", "One user's speed against throughput", "Each point is one load of one trial.", figure, 400)


def _cloud(figure: Figure, points: Sequence[ParetoPoint], name: str, marker: Mapping[str, object]) -> None:
    figure.add_scatter(
        x=[each.tok_s_user for each in points],
        y=[each.tok_s for each in points],
        text=[f"trial {each.trial}, {each.load}" for each in points],
        mode="markers",
        name=name,
        marker=marker,
        hovertemplate="%{text}<br>%{x:.4g} tok/s/user, %{y:.4g} tok/s<extra></extra>",
    )


def _history(study: StudyView) -> Iterator[Plot]:
    for place, objective in enumerate(study.spec.goals.objectives):
        if any(trial.values or trial.metrics for trial in study.trials):
            title = f"{figures.named(objective.metric)} by trial"
            caption = "Crosses are trials that are not feasible; the dashed line is the engine's default."
            yield _plot(f"history-{place}", title, caption, figures.history(study, place))
    if len(study.spec.goals.objectives) > 1 and (shares := hypervolumes(study)):
        figure = figures.plain("trial", "share of the hypervolume in the end")
        line = {"shape": "hv", "color": figures.BEST_COLOUR}
        figure.add_scatter(x=list(shares), y=list(shares.values()), mode="lines+markers", line=line)
        figure.update_yaxes(tickformat=".0%", range=[0, 1.05])
        caption = "What the feasible trials dominate together, in logarithms, from a tenth below the worst of them."
        yield _plot("history-hypervolume", "Hypervolume by trial", caption, figure)


def _importance(rows: Sequence[ImportanceRow]) -> Iterator[Plot]:
    for place, metric in enumerate(dict.fromkeys(row.metric for row in rows)):
        shares = {row.flag: row.share for row in rows if row.metric == metric}
        figure = figures.importance(Importance(method=FANOVA, shares=shares), metric)
        caption = (
            f"{FANOVA}. Of the trials that ran, at most {MOST_TRIALS}; a share says how much, not in which direction."
        )
        yield _plot(f"importance-{place}", f"What mattered for {metric}", caption, figure, 110 + ROW * len(shares))


def _failures(cells: Sequence[FailureCell]) -> Iterator[Plot]:
    """The share of trials that ended by each cause, for each value of each flag."""
    causes = list(dict.fromkeys(cause for cell in cells for cause in cell.causes))
    if not causes:
        return
    figure = figures.plain("", "")
    rows = list(reversed(cells))  # plotly begins at the bottom
    counts = [[cell.causes.get(cause, 0) for cause in causes] for cell in rows]
    figure.add_heatmap(
        x=causes,
        y=[escape(f"{cell.flag} = {cell.values}") for cell in rows],  # plotly reads some of HTML
        z=[[count / cell.trials for count in row] for row, cell in zip(counts, rows, strict=True)],
        text=[
            [f"{count} of {cell.trials}" if count else "" for count in row]
            for row, cell in zip(counts, rows, strict=True)
        ],
        texttemplate="%{text}",
        colorscale=SHARES,
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="%{y}: %{x} %{text}<extra></extra>",
    )
    figure.update_xaxes(showgrid=False, side="top")
    figure.update_yaxes(showgrid=False)
    caption = "Of the trials with a value, how many ended by a cause. Other flags differ too: it is a hint, no proof."
    yield _plot("failures", "Where trials failed", caption, figure, 90 + ROW * len(cells))


def _times(study: StudyView) -> Iterator[Plot]:
    if any(trial.phases_s and trial.state is not TrialState.RUNNING for trial in study.trials):
        caption = "Seconds of each phase, trial by trial."
        yield _plot("phases", "Where the time went", caption, figures.phase_times(study))
