"""What a report says of a benchmark: one configuration without a search, as far as it was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from optuna_tuner.results.best import ENDED
from optuna_tuner.results.levels import with_levels
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.results.wording import measured
from optuna_tuner.search.attained import reported
from optuna_tuner.values import Cause, Load

ONE_ROUND = "One round on one server: how far rounds lie apart is not known (--repeat tells)."


def as_measured(study: StudyView, folder: Path) -> StudyView:
    """A benchmark with the run that ended or else came farthest as its baseline; other studies as they are.

    Of a run whose worker was killed the levels are read from the artifacts below `folder`.
    """
    if not study.spec.is_benchmark:
        return study
    trials = tuple(with_levels(trial, folder / study.id / trial.attempt_id) for trial in study.trials)
    runs = [trial for trial in trials if trial.number is not None]
    farthest = max(runs, key=lambda run: (run.state in ENDED, len(run.measurements), run.number), default=None)
    return replace(study, trials=trials, baseline=farthest or study.baseline)


def benchmark_text(study: StudyView) -> str:
    """What was measured, and what it is worth."""
    run = study.best.trial
    if run is None:
        return "The figures below are all that is known." if _levels(study.baseline) else study.best.text
    values = zip(study.spec.goals.objectives, run.values, strict=True)
    said = ", ".join(f"{each.metric} {measured(each.metric, value)}" for each, value in values)
    rounds = max(Counter(level.load for level in reported(run.measurements)).values(), default=1)
    worth = ONE_ROUND if rounds == 1 else f"A load's figures are the means of {rounds} rounds on one server."
    return " ".join(filter(None, (f"{said} at {run.level or 'the mean over all loads'}.", run.load_search, worth)))


def benchmark_warnings(study: StudyView) -> Iterator[str]:
    """What must be known first of a run that did not end, or keeps no promise."""
    run = study.baseline
    if run is None or run.state is TrialState.QUEUED:
        return
    if run.state is TrialState.RUNNING:
        yield f"It has not ended. {_so_far(run)}"
    elif run.cause not in {None, Cause.SLO}:
        yield f"It was not measured to its end: {run.cause}: {run.reason or 'no reason told'}. {_so_far(run)}"
    elif study.best.trial is None:
        yield "No load keeps the promise."


def not_measured(study: StudyView, loads: Sequence[Load]) -> Iterator[str]:
    """The loads that a run which did not end has not come to."""
    run = study.baseline
    if run is None or run.state in {TrialState.FEASIBLE, TrialState.QUEUED}:
        return
    left = Counter(map(str, loads)) - Counter(str(level.load) for level in run.measurements)
    if left:
        said = ", ".join(f"{load}{f' ({times} times)' * (times > 1)}" for load, times in left.items())
        begin = f"optuna-tuner run {quote(study.name)}"
        yield f"These loads, which were not measured to their end: {said}. Begin again: {begin}."
    elif not loads and not run.load_search:
        yield "The most load: the search for it has not ended."


def _levels(run: TrialView | None) -> int:
    return len(run.measurements) if run else 0


def _so_far(run: TrialView) -> str:
    done = len(run.measurements)
    return f"{done} loads were measured." if done > 1 else f"{'1' if done else 'No'} load was measured."
