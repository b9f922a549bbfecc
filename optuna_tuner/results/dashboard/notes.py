"""The notes that are written for the reader of the dashboard."""

from __future__ import annotations

from collections.abc import Sequence

from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.diff import flag_changes
from optuna_tuner.results.markdown import code, page, plain, section, table
from optuna_tuner.results.rechecked import recheck_text
from optuna_tuner.results.tables import LEVEL_METRICS
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.results.wording import goal_metrics, measured, number, passed_over, percent, repaired, retracted, span
from optuna_tuner.values import Measurement, Scalar

FOOTER = "*Written by optuna-tuner, and kept up to date. Delete this line to keep your own text.*"
LONGEST_REASON = 2000  # characters; the whole log is among the artifacts
BUTTON = (
    "The button **FAIL TRIAL** cancels this trial: its server is stopped, its GPUs are freed, and the study goes on. "
    "Until that is done, some seconds later, the trial may be shown as running."
)


def is_ours(body: str) -> bool:
    """Whether a note may be written over: it is empty, or ours and not taken over by a user."""
    return not body.strip() or FOOTER in body


def study_note(study: StudyView, command: str) -> str:
    """The summary of a study. `command` is what starts its best server; empty when it is not known."""
    counts = study.counts
    tally = (
        f"**{study.state.value}**, {study.spent} of {study.budget} trials: {counts.feasible} feasible, "
        f"{counts.complete - counts.feasible} measured but over a limit, {counts.pruned} pruned, "
        f"{counts.failed} failed by the machine"
        + (
            f", {counts.repeated} repeated (a server that was measured before: not counted)."
            if counts.repeated
            else "."
        )
    )
    causes = [(cause.value, str(count), study.advice(cause)) for cause, count in study.causes.items()]
    return page(
        f"# {plain(study.name)}",
        f"**{plain(study.spec.notice)}**" if study.spec.notice else "",
        plain(study.spec.description),
        tally,
        plain(recheck_text(study)),
        # A gain names the best trial too, and says the same about repeats.
        "" if study.comparison.gains and len(study.best.trials) == 1 else plain(study.best.text),
        plain(study.comparison.text),
        plain(study.machine_drift),
        _beside(study, study.best.trial) if study.best.trial else "",
        section("Best against default", _against(study)),
        section("Recommended flags", _flags(study)),
        section("Command of the best server", code(command) if command else ""),
        section("Why trials gave no feasible score", table(("cause", "trials", "what to conclude"), causes)),
        FOOTER,
    )


def _beside(study: StudyView, trial: TrialView) -> str:
    found = beyond_speed(study, trial)
    return plain(f"Beside the speed: {found}.") if found else ""


def _against(study: StudyView) -> str:
    best, baseline = study.best.trial or study.best.nearest, study.baseline
    trials = [trial for trial in (baseline, best) if trial]
    if not best or not any(trial.metrics for trial in trials):
        return ""
    rows = [[name, *(_metric(trial, name) for trial in trials)] for name in goal_metrics(study.spec.goals)]
    heads = [f"{'default' if trial is baseline else 'best'} ({trial.name})" for trial in trials]
    return table(("metric", *heads), rows)


def _metric(trial: TrialView, name: str) -> str:
    return measured(name, trial.metrics[name]) if name in trial.metrics else "not known"


def _flags(study: StudyView) -> str:
    if not study.best.trial:
        return ""
    rows = flag_changes(study.spec.fixed_flags, study.best.trial.params)
    return table(
        ("flag", "default", "best"),
        [(row.flag, _flag(row.default), _flag(row.best) + ("" if row.changed else " (same)")) for row in rows],
    )


def _flag(value: Scalar | None) -> str:
    if value is None:
        return "engine's own"
    return number(value) if isinstance(value, float) else str(value)


def running_note(trial: TrialView) -> str:
    """What can be said of a trial, and done about it, while it runs."""
    return page(f"**{trial.state.value}**{_place(trial)}.", BUTTON, FOOTER)


def _place(trial: TrialView) -> str:
    return f" on {plain(trial.host)}, slot {plain(trial.slot)}" if trial.host else ""


def trial_note(study: StudyView, trial: TrialView) -> str:
    """All about one trial that its parameters do not say, once it has ended."""
    place = _place(trial)
    retry = f" Try {trial.tries} of these parameters." if trial.tries > 1 else ""
    retry += f" Measured again: {trial.role}." if trial.kind.again else ""
    took = f" It took {span(trial.duration_s)}{place}." if trial.duration_s is not None else ""
    headline = f"**{trial.state.value}**{f': {trial.cause.value}' if trial.cause else ''}.{took}{retry}"
    phases = ", ".join(f"{phase.value.replace('_', '-')} {span(s)}" for phase, s in trial.phases_s.items())
    return page(
        f"**{plain(study.spec.notice)}**" if study.spec.notice else "",
        headline,
        plain(_sentence(trial.repeats)),
        plain(trial.advice),
        code(trial.reason[-LONGEST_REASON:]) if trial.reason else "",
        section("Passed over", plain(passed_over(trial.choice))),
        section("Repaired", plain(repaired(trial.choice))),
        _beside(study, trial),
        section("KV cache", plain(retracted(trial.kv_cache_retractions))),
        section("Constraints", _constraints(trial)),
        section("Load levels", _levels(study, trial)),
        plain(_sentence(trial.load_search)),
        section("Phases", phases),
        section("Asked for, and what the server made of it", _rewritten(trial)),
        section("Known of these flags", "\n".join(f"* {plain(remark)}" for remark in trial.remarks)),
        section("What the server resolved", _resolved(trial)),
        FOOTER,
    )


def _constraints(trial: TrialView) -> str:
    # A trial that was never measured is told to have broken them all; by how much would be made up.
    rows = [
        (name, "kept" if value <= 0 else "BROKEN", percent(value) if trial.has_measured(name) else "not measured")
        for name, value in trial.constraints.items()
    ]
    return table(("constraint", "", "over its limit by"), rows)


def _levels(study: StudyView, trial: TrialView) -> str:
    names = [name for name in (*goal_metrics(study.spec.goals), *LEVEL_METRICS) if _any_has(trial.measurements, name)]
    names = list(dict.fromkeys(names))
    rows = [
        [
            f"{level.load}{' (scored)' if str(level.load) == trial.level else ''}",
            *(measured(name, level.metrics[name]) if name in level.metrics else "" for name in names),
        ]
        for level in trial.measurements
    ]
    return table(("load", *names), rows)


def _any_has(levels: Sequence[Measurement], metric: str) -> bool:
    return any(metric in level.metrics for level in levels)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}." if words else ""


def _rewritten(trial: TrialView) -> str:
    rows = [(name, str(asked), str(got)) for name, (asked, got) in trial.rewritten.items()]
    return table(("flag", "asked", "got"), rows)


def _resolved(trial: TrialView) -> str:
    rows = [(name, str(value)) for name, value in sorted(trial.effective_config.items())]
    return table(("flag", "value"), rows)
