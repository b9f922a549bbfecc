"""A bash script that Slurm runs as a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from optuna_tuner.deployers.slurm_options import ApptainerOptions, SlurmOptions
from optuna_tuner.deployers.slurm_request import resources
from optuna_tuner.deployers.slurm_script import command_of, surroundings
from optuna_tuner.errors import DeployerError, ExportError
from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.shell import command, secrets
from optuna_tuner.results.export.taken import Taken

DEPLOYER = "slurm"


def sbatch(taken: Taken) -> str:
    """What the deployer `slurm` submits, without its guards, its comment and its time limit."""
    options = _options(taken)
    asked = [f"--job-name={taken.name}", *resources(options), f"--output={taken.name}-%j.log"]
    try:
        before = surroundings(taken.launch, options)
        words = command_of(replace(taken.launch, argv=taken.argv), options)
    except DeployerError as error:
        raise ExportError(str(error)) from error
    return "".join(
        (
            "#!/bin/bash\n",
            *(f"#SBATCH {each}\n" for each in asked),
            comment((*heading(taken), *_how(taken, options))),
            secrets(taken.launch.secrets),
            before,
            f"exec {command(words)}\n",
        )
    )


def _options(taken: Taken) -> SlurmOptions:
    """The study's, where it used Slurm; else as many GPUs as the server takes, and Slurm's own defaults."""
    part, gpus = taken.study.spec.deployer, taken.launch.gpus
    own = SlurmOptions.model_validate(part.options) if part.kind == DEPLOYER else SlurmOptions()
    found = own if part.kind == DEPLOYER or not gpus else own.model_copy(update={"gres": f"gpu:{gpus}"})
    if taken.asked.image is None:
        return found
    box = found.apptainer or ApptainerOptions()
    return found.model_copy(update={"apptainer": box.model_copy(update={"image": None})})


def _how(taken: Taken, options: SlurmOptions) -> Iterator[str]:
    yield f"Submit it: sbatch THIS_FILE. Where it runs: squeue --name={taken.name}"
    yield f"It writes its log to {taken.name}-JOB.log where it was submitted. End it: scancel --name={taken.name}"
    yield "It runs as long as the partition allows; #SBATCH --time=... asks for more or less."
    if options.apptainer is None:
        yield f"{taken.argv[0]} must be on the node; with --image it is exported for Apptainer."
    if taken.asked.host in {"127.0.0.1", "::1", "localhost"}:
        yield "Only its own node can reach it. For others export it with --host 0.0.0.0: it asks nobody for a key."
    else:
        yield f"It answers on port {taken.asked.port} of its node, and asks nobody for a key."
