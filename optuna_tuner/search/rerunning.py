"""Whether a trial that is measured again, here and now, gives what it gave then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from optuna_tuner.search.confirmation import values_of
from optuna_tuner.search.reruns import gave_result, settings
from optuna_tuner.search.shift import Shift, logs, shift_of
from optuna_tuner.spec.recheck import Rerun
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, Extra
from optuna_tuner.values import Params


class Agreement(StrEnum):
    """How the figures of now stand to those of then."""

    SAME = "same"  # any difference is too small to count
    NOISE = "within_noise"  # the noise explains the difference; it does not exclude one
    DIFFERENT = "different"  # the noise does not explain it
    UNKNOWN = "unknown"  # one side has no figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerunning:
    """What is known so far. `agreement` is None while more runs are to come.

    `runs` gave a result, of `times` that are wanted. `shifts` are those of the goals' objectives since then, in their
    order and with the study's confidence; that figures differ is said at more, so that several objectives together
    are wrong as seldom as one (Bonferroni).
    """

    agreement: Agreement | None
    runs: tuple[AttemptRecord, ...]
    times: int
    tolerance: float
    confidence: float
    shifts: tuple[Shift | None, ...]


def subject(spec: StudySpec) -> Params:
    """What is measured again; without a configuration in `first` the engine's own default."""
    return spec.first_params[0] if spec.first else Params()


def rerun_result(spec: StudySpec, attempts: Sequence[AttemptRecord]) -> Rerunning | None:
    """What the runs say; None for a study that is no rerun."""
    if spec.rerun is None:
        return None
    runs = [each for each in _of_subject(spec, attempts) if gave_result(each)]
    places = range(len(spec.goals.objectives))
    return Rerunning(
        agreement=_agreement(spec, spec.rerun, runs) if _is_complete(spec, spec.rerun, attempts) else None,
        runs=tuple(runs),
        times=spec.rerun.times,
        tolerance=settings(spec).min_gain,
        confidence=settings(spec).confidence,
        shifts=tuple(_shift(spec, spec.rerun, runs, place, settings(spec).confidence) for place in places),
    )


def next_rerun(spec: StudySpec, attempts: Sequence[AttemptRecord]) -> Extra | None:
    """The trial once more, until it was begun so often as is wanted."""
    if spec.rerun is None or _begun(spec, attempts) >= spec.rerun.times:
        return None
    return Extra(kind=AttemptKind.RERUN, params=subject(spec))


def _begun(spec: StudySpec, attempts: Sequence[AttemptRecord]) -> int:
    return sum(each.retry_of is None for each in _of_subject(spec, attempts))


def _of_subject(spec: StudySpec, attempts: Sequence[AttemptRecord]) -> Sequence[AttemptRecord]:
    return [each for each in attempts if each.params == subject(spec)]


def _is_complete(spec: StudySpec, rerun: Rerun, attempts: Sequence[AttemptRecord]) -> bool:
    return _begun(spec, attempts) >= rerun.times and all(each.state is AttemptState.ENDED for each in attempts)


def _shift(spec: StudySpec, rerun: Rerun, runs: Sequence[AttemptRecord], place: int, confidence: float) -> Shift | None:
    objective = spec.goals.objectives[place]
    return shift_of(
        logs(rerun.figures.get(objective.metric, ())),
        logs([values_of(run)[place] for run in runs if values_of(run)]),
        maximize=objective.direction == "maximize",
        confidence=confidence,
    )


def _agreement(spec: StudySpec, rerun: Rerun, runs: Sequence[AttemptRecord]) -> Agreement:
    """Of all objectives: one that differs is enough, and what is not known of one is not known."""
    found = [_of_objective(spec, rerun, runs, place) for place in range(len(spec.goals.objectives))]
    order = (Agreement.DIFFERENT, Agreement.UNKNOWN, Agreement.NOISE, Agreement.SAME)
    return min(found, key=order.index)


def _of_objective(spec: StudySpec, rerun: Rerun, runs: Sequence[AttemptRecord], place: int) -> Agreement:
    tolerance, error = settings(spec).min_gain, 1 - settings(spec).confidence
    shift = _shift(spec, rerun, runs, place, 1 - error)
    surer = _shift(spec, rerun, runs, place, 1 - error / len(spec.goals.objectives))
    if shift is None or surer is None:
        return _by_cause(rerun, runs)
    if surer.low > tolerance or surer.high < -tolerance:
        return Agreement.DIFFERENT
    return Agreement.SAME if -tolerance <= shift.low and shift.high <= tolerance else Agreement.NOISE


def _by_cause(rerun: Rerun, runs: Sequence[AttemptRecord]) -> Agreement:
    """Where a side has no figures: failing for the same cause is the same, failing on one side only is not."""
    if not runs:
        return Agreement.UNKNOWN
    causes = {run.outcome.cause.value if run.outcome and run.outcome.cause else "" for run in runs}
    failed = not any(map(values_of, runs))
    if not rerun.figures:
        return Agreement.SAME if failed and causes == {rerun.cause} else Agreement.DIFFERENT
    return Agreement.DIFFERENT if failed else Agreement.UNKNOWN
