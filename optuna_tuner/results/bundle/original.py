"""A trial that is to be run again: its study, its parameters and what it gave, from its bundle or from the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import ValidationError

from optuna_tuner.errors import BundleError
from optuna_tuner.results.bundle.checking import read_run, summarise
from optuna_tuner.results.bundle.environment import Facts, environment
from optuna_tuner.results.bundle.run import Run, TrialRun
from optuna_tuner.results.bundle.taking import run_of
from optuna_tuner.results.bundle.writing import REQUESTS, RUN, STUDY
from optuna_tuner.results.side_by_side.sides import BEST, same_runs, trial_named
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.results.wording import goal_metrics
from optuna_tuner.search.rerunning import subject
from optuna_tuner.spec.recheck import FEWEST_RUNS
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Scalar

Figures = Mapping[str, Sequence[float]]  # by metric, a value a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The trial of then. `never_ran` says why there is nothing to run again; empty where there is."""

    study: str
    trial: int
    spec: StudySpec
    params: Mapping[str, Scalar]
    figures: Figures
    cause: str
    environment: Facts
    never_ran: str


def of_bundle(folder: Path) -> Original:
    """From a trial's bundle alone. Raises BundleError for one that cannot be read, or is not as it was written."""
    if (folder / STUDY).is_file() and not (folder / RUN).exists():
        raise BundleError(f"{folder} is the bundle of a whole study: name one of its trials, such as {folder}/trial-0")
    run = read_run(folder / RUN)
    if REQUESTS in run.files:
        summarise(folder)  # they must be those that the figures are from
    spec = study_of(run, folder / RUN)
    strange = sorted(run.trial.params.keys() - spec.space.keys())
    if strange:
        raise BundleError(f"{folder / RUN}: trial.params: {', '.join(strange)}: not in the space of its study")
    return _original(run, spec, dict(_figures(run, spec)))


def found(store: Store, source: str, study_of: Callable[[str], StudyView]) -> Original:
    """A bundle's folder where there is one, else a trial as `compare` names it.

    Raises BundleError and NotFoundError.
    """
    if Path(source).is_dir():
        return of_bundle(Path(source))
    if Path(source).exists():
        raise BundleError(f"{source} is a file: name the folder of a bundle, or a study")
    name, _, which = source.partition("/")
    study = study_of(name)
    return of_trial(store, study, trial_named(study, which or BEST))


def of_trial(store: Store, study: StudyView, trial: TrialView) -> Original:
    """From what the database knows of it. Where it was measured again later, those runs are what it gave.

    The search's own figure of a best trial was partly luck.
    """
    run, metrics = run_of(store, study, trial), goal_metrics(study.spec.goals)
    runs = [each for each in same_runs(study, trial) if each.metrics.keys() >= set(metrics)]
    again = [each for each in runs if each.kind.again]
    chosen = again if len(again) >= FEWEST_RUNS else runs
    figures = {metric: [each.metrics[metric] for each in chosen] for metric in metrics} if chosen else {}
    return _original(run, study.spec, figures)


def surroundings(store: Store, study: StudyView) -> Facts:
    """Of the trial that counts, in its last run that has figures; empty where none has."""
    params = study.best.trial.params if study.best.trial else None
    if study.older:
        wanted = subject(study.spec)
        params = {**wanted.flags, **wanted.env}
    runs = [each for each in study.trials if each.params == params and each.metrics]
    return environment(run_of(store, study, runs[-1])) if runs else {}


def _original(run: Run, spec: StudySpec, figures: Figures) -> Original:
    return Original(
        study=spec.name,
        trial=run.trial.number,
        spec=spec,
        params=run.trial.params,
        figures=figures,
        cause="" if figures else run.trial.cause or "",
        environment=environment(run),
        never_ran=_never_ran(run.trial),
    )


def study_of(run: Run, file: Path) -> StudySpec:
    """The study file in a `run.json`. Raises BundleError for one that is not as it was written."""
    canonical = json.dumps(run.study.file, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(canonical.encode()).hexdigest() != run.study.sha256:
        raise BundleError(f"{file}: study.file: is not the one that was written: its SHA-256 is another")
    try:
        return StudySpec.model_validate_json(canonical)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(["study.file", *(str(part) for part in first["loc"])])
        raise BundleError(f"{file}: {place}: {first['msg']}") from error


def _figures(run: Run, spec: StudySpec) -> Iterator[tuple[str, Sequence[float]]]:
    """The objectives, and at the level that was scored what the constraints speak of."""
    values = {each.metric: value for each, value in zip(spec.goals.objectives, run.trial.values, strict=False)}
    levels = [each.metrics for each in run.levels if run.trial.level in {"", each.level}]
    for metric in goal_metrics(spec.goals) if values else ():
        known = [level[metric] for level in levels if metric in level]
        if metric in values:
            yield metric, (values[metric],)
        elif known:
            yield metric, (fmean(known),)


def _never_ran(trial: TrialRun) -> str:
    if trial.state in {"queued", "running"}:
        return f"it is {trial.state}"
    if trial.same_as is not None:
        return f"it was not measured, being the same server as trial {trial.same_as}: run that one"
    if trial.cause in {Cause.REJECTED, Cause.STOPPED, Cause.CANCELLED}:
        return f"it was never measured: {trial.cause}: {trial.reason}"
    return ""
