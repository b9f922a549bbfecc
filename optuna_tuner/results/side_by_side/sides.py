"""One side of a comparison: which trial, and which runs measured the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from optuna_tuner.errors import NotFoundError
from optuna_tuner.results.side_by_side import Side
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView

BEST, BASELINE = "best", "baseline"


def side(which: str, study_of: Callable[[str], StudyView]) -> Side:
    """`STUDY` is its best, `STUDY/baseline` the engine's own default, `STUDY/7` a number. Raises NotFoundError."""
    name, _, trial = which.partition("/")
    return side_of(study_of(name), trial or BEST)


def side_of(study: StudyView, which: str) -> Side:
    """`best`, `baseline` or a trial's number. Raises NotFoundError, also for a trial that has no figures."""
    trial = trial_named(study, which)
    if not trial.metrics:
        why = trial.reason or (trial.cause.value if trial.cause else trial.state.value)
        raise NotFoundError(f'{trial.name} of study "{study.name}" has no figures to compare: {why}')
    return Side(study=study, trial=trial, runs=tuple(same_runs(study, trial)))


def trial_named(study: StudyView, which: str) -> TrialView:
    """`best`, `baseline` or a trial's number. Raises NotFoundError."""
    if which == BEST:
        if study.best.trial is None:
            raise NotFoundError(f'study "{study.name}" has no best trial: {study.best.text}')
        return study.best.trial
    if which == BASELINE:
        if study.baseline is None:
            raise NotFoundError(f'study "{study.name}" has no baseline: it was not asked for (baseline: false)')
        return study.baseline
    if which.isdecimal():
        return study.trial(int(which))
    raise NotFoundError(f'"{which}" is no trial; write STUDY, STUDY/best, STUDY/baseline or STUDY/NUMBER')


def same_runs(study: StudyView, trial: TrialView) -> Iterator[TrialView]:
    """All that measured the same configuration at the same load, itself among them.

    A search for the most load ends at another level each time, and is the same measurement all the same.
    """
    for run in study.trials:
        level = run.level == trial.level or (run.load_search and trial.load_search)
        if run.metrics and level and run.same_as is None and run.params == trial.params:
            yield run
