"""Bundles on disk, read as the study that they are from: its trials, as far as they lie there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean

from optuna_tuner.errors import BundleError
from optuna_tuner.results.bundle.checking import read_run
from optuna_tuner.results.bundle.original import study_of
from optuna_tuner.results.bundle.run import Run
from optuna_tuner.results.bundle.writing import RUN, STUDY
from optuna_tuner.results.side_by_side import Side
from optuna_tuner.results.side_by_side.sides import BASELINE, BEST, side_of
from optuna_tuner.results.trials import TrialState
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.spec.space import params_of
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Desired,
    Outcome,
    StudyRecord,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.values import Cause, Phase, Slot

VERDICTS = {
    TrialState.FEASIBLE: Verdict.COMPLETE,
    TrialState.INFEASIBLE: Verdict.COMPLETE,
    TrialState.PRUNED: Verdict.PRUNED,
}


def bundle_side(which: str) -> Side | None:
    """A trial's bundle, or FOLDER, FOLDER/baseline, FOLDER/7 of a study's; None for what is no bundle here.

    Raises BundleError, and NotFoundError where it has no such trial.
    """
    whole, folder = Path(which), Path(which).parent
    if (whole / RUN).is_file():
        run = read_run(whole / RUN)
        return side_of(_study([(whole / RUN, run)]), str(run.trial.number))
    if (whole / STUDY).is_file():
        return side_of(study_in(whole), BEST)
    named = whole.name in {BEST, BASELINE} or whole.name.isdecimal()
    return side_of(study_in(folder), whole.name) if named and (folder / STUDY).is_file() else None


def study_in(folder: Path) -> StudyView:
    """The study of a bundle of all its trials. Raises BundleError."""
    found = {file.parent.name.removeprefix("trial-"): file for file in folder.glob(f"trial-*/{RUN}")}
    files = [found[number] for number in sorted(filter(str.isdecimal, found), key=int)]
    if not files:
        raise BundleError(f"{folder} has no trial-0 or another one: it is no bundle of a study")
    return _study([(file, read_run(file)) for file in files])


def _study(runs: Sequence[tuple[Path, Run]]) -> StudyView:
    """What a database would say of it. Each must be of the same study."""
    file, first = runs[0]
    spec = study_of(first, file)
    for other, run in runs[1:]:
        if run.study != first.study:
            raise BundleError(f"{other}: study: is another than that of {file}: trials of two studies are mixed here")
    record = StudyRecord(
        id=first.study.id,
        name=first.study.name,
        spec_json=spec.model_dump_json(),
        space_hash=spec.space_hash(),
        budget=spec.budget.trials,
        reserved=spec.budget.trials,
        desired=Desired.STOP,
        created_at=_moment(file, "times.created", first.times.created),
    )
    attempts = [_attempt(each, run, spec) for each, run in runs]
    workers = {run.place.worker: _worker(run) for _, run in runs}
    return study_view(record, spec, attempts, tuple(workers.values()), record.created_at)


def _attempt(file: Path, run: Run, spec: StudySpec) -> AttemptRecord:
    trial = run.trial
    if strange := sorted(trial.params.keys() - spec.space.keys()):
        raise BundleError(f"{file}: trial.params: {', '.join(strange)}: not in the space of its study")
    try:
        kind, state = AttemptKind(trial.kind), TrialState(trial.state)
        cause = Cause(trial.cause) if trial.cause else None
    except ValueError as error:
        raise BundleError(f"{file}: trial: {error}") from error
    return AttemptRecord(
        id=trial.attempt,
        study_id=run.study.id,
        kind=kind,
        state=AttemptState.ENDED,
        tries=trial.tries,
        retry_of=trial.retry_of,
        params=params_of(spec.space, trial.params),
        number=trial.number,
        worker_id=run.place.worker,
        phase=Phase.TEARDOWN,
        cancel=False,
        outcome=Outcome(
            verdict=VERDICTS.get(state, Verdict.FAIL),
            values=trial.values,
            constraints=trial.constraints,
            cause=cause,
            reason=trial.reason,
            level=trial.level,
            load_search=trial.load_search,
            metrics=_metrics(run, spec),
            effective_config=run.engine.effective_config,
            same_as=trial.same_as,
        ),
        told=True,
        created_at=_moment(file, "times.created", run.times.created),
        claimed_at=None,
        ended_at=None,
    )


def _metrics(run: Run, spec: StudySpec) -> dict[str, float]:
    """Those that were scored: the means over the measurements at that level; of a mean over all, over all."""
    if not run.trial.values:
        return {}
    levels = [each.metrics for each in run.levels if run.trial.level in {"", each.level} and not each.probe]
    shared = set.intersection(*map(set, levels)) if levels else set()
    objectives = zip((each.metric for each in spec.goals.objectives), run.trial.values, strict=False)
    return {name: fmean(each[name] for each in levels) for name in sorted(shared)} | dict(objectives)


def _worker(run: Run) -> WorkerRecord:
    place = run.place
    slot = Slot(name=place.slot, host=place.host, gpus=place.gpu_uuids, cores=place.cores)
    return WorkerRecord(
        id=place.worker,
        study_id=run.study.id,
        host=place.host,
        boot_id="",
        pid=0,
        pid_start=0.0,
        beat=0,
        slot=slot,
        retired=True,
    )


def _moment(file: Path, place: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BundleError(f"{file}: {place}: is no moment in ISO 8601: {text}") from error
