"""A benchmark while it runs, and what it gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from optuna_tuner.cli.output import print_rows
from optuna_tuner.cli.session import Session
from optuna_tuner.home import artifacts_folder
from optuna_tuner.results.bottleneck import Limit
from optuna_tuner.results.bottleneck.judging import bottleneck_of
from optuna_tuner.results.report.load import curves_of, peak_text, range_text
from optuna_tuner.results.tables import LEVEL_METRICS
from optuna_tuner.results.wording import measured, span
from optuna_tuner.store.artifacts import LEVELS_FILE

if TYPE_CHECKING:
    from optuna_tuner.results.report.document import Curve
    from optuna_tuner.results.views import StudyView, TrialView
    from optuna_tuner.spec.study import StudySpec

SHOWN = ("output_throughput_tok_s", "ttft_ms.p99", "tpot_ms.p99")


def run_bench(session: Session, spec: StudySpec) -> StudyView:
    """Run it until it is done, with a line for each phase and each level on stderr; then print what it gave."""
    said = Lines(session, len(session.tuner.loads(spec)))
    try:
        view = session.tuner.run(spec, progress=said)
    except KeyboardInterrupt:
        name = quote(spec.name)
        session.note(f"Nothing runs any more. The same command begins it again; its name is {name}.")
        session.note(f"What was measured until now: optuna-tuner report {name} -o report")
        raise
    said(view)
    _show(session, view)
    return view


class Lines:
    """A line for each phase that begins and each level that was measured, as they are seen."""

    def __init__(self, session: Session, levels: int) -> None:
        self._session, self._levels = session, levels
        self._phase, self._told = "", dict[str, int]()

    def __call__(self, view: StudyView) -> None:
        """Say what is new."""
        for trial in view.trials:
            if trial.phase and trial.phase.value != self._phase:
                self._phase = trial.phase.value
                self._session.note(f"[{span(view.elapsed_s)}] {self._phase.replace('_', '-')}")
            for line in self._new(view, trial):
                self._session.note(f"[{span(view.elapsed_s)}] {line}")

    def _new(self, view: StudyView, trial: TrialView) -> Iterator[str]:
        """The levels that the worker has written down since the last look; a half line is read next time."""
        file = artifacts_folder() / view.id / trial.attempt_id / LEVELS_FILE
        known = self._told.get(trial.attempt_id, 0)
        text = file.read_text(encoding="ascii") if file.is_file() else ""
        for place, line in enumerate(text[: text.rfind("\n") + 1].splitlines()[known:], start=known + 1):
            self._told[trial.attempt_id] = place
            yield f"{place}/{self._levels or '?'} {_level(line)}"


def _level(line: str) -> str:
    level = json.loads(line)
    load, metrics = level["load"], level["metrics"]
    figures = [f"{name} {measured(name, metrics[name])}" for name in SHOWN if name in metrics]
    return f"{load['scenario']} {load['kind']}={load['value']:g}: ".lstrip() + ", ".join(figures)


def _show(session: Session, view: StudyView) -> None:
    """Load by load, what follows from it, and what limits it."""
    trial = view.trials[-1] if view.trials else None
    out = session.out
    out.print(f"Benchmark {view.name}: {view.state.value} in {span(view.elapsed_s)}", style="bold")
    if view.spec.notice:
        out.print(view.spec.notice, style="yellow", soft_wrap=True)
    if trial is None or not trial.measurements:
        why = f"{trial.cause.value}: {trial.reason}" if trial and trial.cause else "no load was measured"
        out.print(why, style="red", soft_wrap=True)
        out.print(trial.advice if trial else "", soft_wrap=True)
        return
    for curve in curves_of(trial, view.spec.goals, is_best=trial.feasible):
        _curve(session, curve)
    _bottleneck(session, view, trial)
    name = quote(view.name)
    session.note(f"\nAll of it: optuna-tuner show {name} {trial.number}; optuna-tuner report {name} -o report")


def _curve(session: Session, curve: Curve) -> None:
    session.out.print(f"\n{curve.scenario or 'Load by load'}", style="bold")
    names = [name for name in LEVEL_METRICS if any(name in row.metrics for row in curve.rows)]
    kept = {True: "kept", False: "broken", None: ""}
    rows = [
        (row.load, *(row.metrics.get(name) for name in names), kept[row.keeps_slo], f"x{row.times}" * (row.times > 1))
        for row in curve.rows
    ]
    print_rows(session, (curve.unit, *names, "SLO", ""), rows)
    session.out.print(curve.text, soft_wrap=True)
    for title, text in (("Recommended operating range", range_text(curve)), ("Peak", peak_text(curve))):
        if text:
            session.out.print(f"{title}: {text}.", soft_wrap=True)


def _bottleneck(session: Session, view: StudyView, trial: TrialView) -> None:
    found = bottleneck_of(view.spec, trial)
    if found is None:
        return
    session.out.print(f"\nBottleneck at {found.load}, as a hypothesis: {found.limit.value}", style="bold")
    parts = [found.text, *found.evidence, *(f"Try: {move}" for move in found.moves)]
    for line in [*parts, *(found.missing if found.limit is Limit.UNKNOWN else ())]:
        session.out.print(f"  {line}", soft_wrap=True)


def save(session: Session, view: StudyView, folder: Path, *, plots: bool) -> None:
    """The report, and the bundle of what was measured in it."""
    from optuna_tuner.cli.new_file import write_folder  # noqa: PLC0415  only who saves pays for it
    from optuna_tuner.results.report.files import folder_files  # noqa: PLC0415  likewise

    files, lack = folder_files(session.tuner.report(view.name), plots=plots)
    write_folder(folder, files, force=False)
    trial = view.trials[-1].number if view.trials else None
    if trial is not None:
        session.tuner.bundle(view.name, folder / "bundle", trial)
    if lack:
        session.note(lack)
    session.note(f"Wrote {folder}: open {folder / 'report.html'}")
