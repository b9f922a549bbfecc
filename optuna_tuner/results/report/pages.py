"""A report as sections of blocks: the order and the words that Markdown and HTML share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optuna_tuner.results.report.blocks import (
    Block,
    Code,
    Grid,
    Picture,
    Section,
    Text,
)
from optuna_tuner.results.report.bottleneck import bottleneck_blocks
from optuna_tuner.results.report.document import Curve, Fact, Report
from optuna_tuner.results.report.first_page import first_page, flag_grid
from optuna_tuner.results.report.load import peak_text, range_text
from optuna_tuner.results.tables import LEVEL_METRICS
from optuna_tuner.results.wording import measured, number, percent, settings, span, word

NOT_KNOWN = "not known"


def sections(report: Report) -> tuple[Section, ...]:
    """The whole report; a section with nothing in it is left out."""
    made = (
        Section("summary", report.study, list(first_page(report))),
        Section("recheck", "Then and now", list(_recheck(report))),
        Section("flags", "Recommended flags" if report.summary.gains else "Flags", list(_flags(report))),
        Section("load", "Load curves and knee", list(_load(report))),
        Section("bottleneck", "Bottleneck", list(bottleneck_blocks(report.bottleneck))),
        Section("pareto", "Pareto front", list(_pareto(report))),
        Section("method", "Method", [_facts(report.method)]),
        Section("design", "Why it was measured like that", [_facts(report.design)]),
        Section("search", "Search history", list(_search(report))),
        Section("importance", "Importance of the flags", _pictures(report, "importance-")),
        Section("failures", "Failure map by cause", list(_failures(report))),
        Section("noise", "Noise and drift", list(_noise(report))),
        Section("trials", "All trials", list(_trials(report))),
        Section(
            "again", "Run it again", [Code("\n".join(report.commands)), Text("study.yaml:"), Code(report.study_file)]
        ),
    )
    return tuple(section for section in made if section.blocks)


def _recheck(report: Report) -> Iterator[Block]:
    rows = [
        (
            row.who,
            row.metric,
            measured(row.metric, row.then),
            measured(row.metric, row.now),
            percent(row.now / row.then - 1) if row.then else NOT_KNOWN,
        )
        for row in report.recheck
    ]
    if rows:
        yield Grid(("", "metric", "then", "now", "change"), rows, frozenset({2, 3, 4}))


def _flags(report: Report) -> Iterator[Block]:
    if report.summary.flags and report.summary.gains:
        yield flag_grid(report.summary.flags, "")
    elif report.summary.flags:
        yield Grid(("flag", "value"), [(row.flag, word(row.default)) for row in report.summary.flags])
    if report.summary.command:
        yield Text("What starts the server, as it was measured; the address is an example:")
        yield Code(report.summary.command)


def _load(report: Report) -> Iterator[Block]:
    for curve in report.curves:
        yield Text(f"{_named(curve)}: {' '.join(_of_load(curve))}")
    yield from _pictures(report, "load-")
    for curve in report.curves:
        yield _load_grid(curve)


def _of_load(curve: Curve) -> Iterator[str]:
    yield curve.text
    if within := range_text(curve):
        yield f"Recommended operating range: {within}."
    if peak := peak_text(curve):
        yield f"Peak: {peak}."


def _load_grid(curve: Curve) -> Grid:
    names = [name for name in LEVEL_METRICS if any(name in row.metrics for row in curve.rows)]
    repeated = any(row.times > 1 for row in curve.rows)
    rows = [
        (
            number(row.load),
            *(measured(name, row.metrics[name]) if name in row.metrics else "" for name in names),
            {True: "kept", False: "broken", None: ""}[row.keeps_slo],
            *([str(row.times)] * repeated),
        )
        for row in curve.rows
    ]
    columns = frozenset(range(len(names) + 1))
    titles = (curve.unit, *names, "SLO", *(["rounds"] * repeated))
    return Grid(titles, rows, columns, f"{_named(curve)}, load by load")


def _named(curve: Curve) -> str:
    return f"{curve.role.capitalize()} (trial {curve.trial}{f', {curve.scenario}' * bool(curve.scenario)})"


def _pareto(report: Report) -> Iterator[Block]:
    front = sorted((each for each in report.pareto if each.front), key=lambda each: -each.tok_s_user)
    if not report.pareto:
        return
    unit = f"tok/s/{report.pareto_per}"
    yield Text(
        f"What one user sees (1000 / tpot_ms.mean, tok/s/user) against what one {report.pareto_per} gives ({unit})."
    )
    yield from _pictures(report, "pareto")
    rows = [(str(each.trial), each.load, number(each.tok_s_user), number(each.tok_s)) for each in front]
    yield Grid(
        ("trial", "load", "tok/s/user", unit),
        rows,
        frozenset({0, 2, 3}),
        "The front: within the SLO, beaten by none in both",
    )


def _facts(facts: Sequence[Fact]) -> Grid:
    return Grid(("", ""), [(fact.name, fact.text) for fact in facts])


def _search(report: Report) -> Iterator[Block]:
    yield from _pictures(report, "history-")
    yield Grid(("flag", "searched"), [(fact.name, fact.text) for fact in report.space], caption="The space")
    yield from _pictures(report, "phases")


def _failures(report: Report) -> Iterator[Block]:
    issues = report.summary.issues
    if issues:
        rows = [(issue.what, str(issue.trials or ""), issue.advice, issue.evidence) for issue in issues]
        yield Grid(("cause", "trials", "what to conclude", "the last one's evidence"), rows, frozenset({1}))
    yield from _pictures(report, "failures")
    cells = [
        (
            cell.flag,
            cell.values,
            str(cell.trials),
            str(cell.feasible),
            ", ".join(f"{count} x {cause}" for cause, count in cell.causes.items()),
        )
        for cell in report.failures
    ]
    if cells:
        yield Grid(("flag", "values", "trials", "feasible", "the others"), cells, frozenset({2, 3}), "Flag by flag")


def _noise(report: Report) -> Iterator[Block]:
    metric = next(iter(report.trials[0].values)) if report.trials else ""
    if report.machine_drift:
        yield Text(report.machine_drift)
    if report.default_runs:
        rows = [(_number(run.trial), run.role, run.ended, _value(metric, run.value)) for run in report.default_runs]
        yield Grid(("trial", "role", "ended", metric), rows, frozenset({0, 3}), "Every run of the default")
    if report.pairs:
        pairs = [
            (
                str(pair.pair),
                _value(metric, pair.default),
                _value(metric, pair.winner),
                _ratio(pair.winner, pair.default),
            )
            for pair in report.pairs
        ]
        yield Grid(
            ("pair", "default", "winner", "winner / default"), pairs, frozenset(range(4)), f"{metric}, back to back"
        )


def _ratio(winner: float | None, default: float | None) -> str:
    return number(winner / default) if winner is not None and default else NOT_KNOWN


def _value(metric: str, value: float | None, missing: str = NOT_KNOWN) -> str:
    return missing if value is None else measured(metric, value)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _trials(report: Report) -> Iterator[Block]:
    metrics = list(report.trials[0].values) if report.trials else []
    rows = [
        (
            _number(row.number),
            "".join((row.state, f": {row.cause}" * bool(row.cause), f" ({row.role})" * bool(row.role))),
            *(_value(metric, row.values[metric], missing="") for metric in metrics),
            row.level,
            "" if row.duration_s is None else span(row.duration_s),
            "\n".join(filter(None, (settings(row.flags) or "engine's default", row.reason))),
        )
        for row in report.trials
    ]
    titles = ("trial", "state", *metrics, "at", "took", "flags, and what went wrong")
    if rows:
        yield Grid(titles, rows, frozenset({0, *range(2, 2 + len(metrics))}))


def _pictures(report: Report, prefix: str) -> list[Block]:
    return [Picture(plot) for plot in report.plots if plot.id.startswith(prefix)]
