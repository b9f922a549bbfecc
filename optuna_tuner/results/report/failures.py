"""Where in the space trials failed: flag by flag, value by value, cause by cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from optuna_tuner.results.report.document import FailureCell, Issue
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import ACTIVE, StudyView
from optuna_tuner.results.wording import exact, number, retracted
from optuna_tuner.values import Scalar

MOST_VALUES = 6  # of a number that are shown one by one
PARTS = 4  # into which more of them are cut, of about equal numbers of trials
LEFT_OUT = (*ACTIVE, TrialState.REPEATED, TrialState.FAILED, TrialState.STOPPED)  # no fault of the configuration


def issues(study: StudyView) -> tuple[Issue, ...]:
    """What to know of the best trial, then what went wrong: the most frequent first, with its last line."""
    found = []
    for cause, count in study.causes.items():
        last = next(trial for trial in reversed(study.trials) if trial.cause is cause)
        evidence = f"{last.name}: {last.reason}" if last.reason else ""
        found.append(Issue(what=cause.value, trials=count, advice=study.advice(cause), evidence=evidence))
    return (*(_of_best(study.best.trial) if study.best.trial else ()), *found)


def _of_best(best: TrialView) -> Iterator[Issue]:
    """What is to be known of the recommended trial though it did not fail."""
    for name, (asked, became) in best.rewritten.items():
        yield Issue(what=name, trials=0, advice=f"asked for {asked}, the server took {became}.", evidence=best.name)
    if best.kv_cache_retractions:
        yield Issue(what="KV cache", trials=0, advice=retracted(best.kv_cache_retractions), evidence=best.name)


def failure_map(study: StudyView) -> tuple[FailureCell, ...]:
    """For each flag of the space and each of its values, how the trials of the search ended."""
    tried = [trial for trial in study.trials if not trial.kind.again and trial.state not in LEFT_OUT]
    if all(trial.feasible for trial in tried):
        return ()
    return tuple(cell for flag in study.spec.space for cell in _cells(flag, [t for t in tried if flag in t.params]))


def _cells(flag: str, trials: Sequence[TrialView]) -> Sequence[FailureCell]:
    return [
        FailureCell(
            flag=flag,
            values=values,
            trials=len(having),
            feasible=sum(trial.feasible for trial in having),
            causes=dict(Counter(trial.cause.value for trial in having if trial.cause).most_common()),
        )
        for values, having in _groups(flag, trials)
    ]


def _groups(flag: str, trials: Sequence[TrialView]) -> Sequence[tuple[str, Sequence[TrialView]]]:
    values = sorted({trial.params[flag] for trial in trials}, key=_order)
    if len(values) <= MOST_VALUES or isinstance(values[0], bool | str):
        return [(exact(value), [trial for trial in trials if trial.params[flag] == value]) for value in values]
    cuts = [round(part * len(values) / PARTS) for part in range(PARTS + 1)]
    parts = [values[low:high] for low, high in pairwise(cuts)]
    return [
        (f"{_short(part[0])} to {_short(part[-1])}", [trial for trial in trials if trial.params[flag] in part])
        for part in parts
    ]


def _order(value: Scalar) -> tuple[bool, float, str]:
    return (False, float(value), "") if isinstance(value, bool | int | float) else (True, 0.0, value)


def _short(value: Scalar) -> str:
    return number(value) if isinstance(value, float) else exact(value)
