"""How steady the machine was: every run of the default, and the pairs of winner and default."""

from __future__ import annotations

from optuna_tuner.results.best import value_of
from optuna_tuner.results.machine_drift import default_runs
from optuna_tuner.results.report.document import DefaultRun, PairRow
from optuna_tuner.results.views import StudyView
from optuna_tuner.store.records import AttemptRecord


def runs_of_default(study: StudyView) -> tuple[DefaultRun, ...]:
    """In the order of their ends."""
    objective = study.spec.goals.objectives[0]
    return tuple(
        DefaultRun(
            trial=trial.number,
            role=trial.role,
            ended=trial.ended.isoformat(timespec="seconds") if trial.ended else "",
            value=value_of(trial, 0, objective),
        )
        for trial in default_runs(study.trials)
    )


def pair_rows(study: StudyView) -> tuple[PairRow, ...]:
    """The confirming pairs, in the first objective."""
    pairs = study.confirmation.pairs if study.confirmation else ()
    return tuple(
        PairRow(pair=place, default=_value(pair.default), winner=_value(pair.winner))
        for place, pair in enumerate(pairs, start=1)
    )


def _value(run: AttemptRecord | None) -> float | None:
    return run.outcome.values[0] if run and run.outcome and run.outcome.values else None
