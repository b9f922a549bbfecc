"""What a study file says elsewhere that does not go with its options for Slurm. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from optuna_tuner.deployers.slurm_options import SlurmOptions, seconds_of
from optuna_tuner.spec.study import Limits
from optuna_tuner.values import Json

Misfit = tuple[tuple[str | int, ...], str]


def misfits(study: Mapping[str, Json], options: SlurmOptions) -> Iterator[Misfit]:
    """The path of each value that does not fit, and why."""
    yield from _image(study, options)
    yield from _time(study, options)


def _image(study: Mapping[str, Json], options: SlurmOptions) -> Iterator[Misfit]:
    box, engine = options.apptainer, study.get("engine")
    if box and not box.image and isinstance(engine, dict) and not engine.get("image"):
        yield ("deployer", "apptainer"), "the container has no image: add image here, or to the engine"


def _time(study: Mapping[str, Json], options: SlurmOptions) -> Iterator[Misfit]:
    """A job that is ended by its time looks like a failing machine, and would be tried again."""
    try:
        limits = Limits.model_validate(study.get("limits", {}))
    except ValidationError:  # told by others
        return
    asked_s = limits.quality_s if study.get("quality") else 0.0
    trial_s = limits.startup_s + limits.warm_up_s + asked_s + limits.benchmark_s + limits.teardown_s
    job_s = seconds_of(options.time) or 0
    if job_s < trial_s:
        reason = f"a job ends after {job_s} s, and the study's limits give a trial {trial_s:g} s"
        deployer = study.get("deployer")
        said = isinstance(deployer, dict) and "time" in deployer
        yield (("deployer", "time") if said else ("deployer",)), f"{reason}: raise time, or lower the limits"
