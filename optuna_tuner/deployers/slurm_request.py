"""A launch as a job: the command that submits it, and the script that it is given. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from shlex import join
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, Field, ValidationError

from optuna_tuner.deployers.slurm_options import STRICT, SlurmOptions
from optuna_tuner.deployers.slurm_script import LOG, script_of, variable
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Launch, Request

# What a server needs of its surroundings; OPTUNA_TUNER_STORAGE, which may hold a password, is not among it.
INHERITED = (
    *("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "MODULEPATH"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "http_proxy", "https_proxy", "no_proxy"),
)
COMMENT = "optuna-tuner?"
# Over ssh the values of secrets come in lines before the script, so that they are in no argument.
_TAKE_SECRETS = 'while IFS= read -r line && [ -n "$line" ]; do export "$line"; done; exec "$@"'


class JobRequest(BaseModel):
    """The body of a request: all of it but the values of secrets and of inherited variables."""

    model_config = STRICT

    argv: tuple[str, ...] = Field(min_length=1)
    stdin: str
    secrets: Mapping[str, str]
    labels: Mapping[str, str]
    model: str


def body_of(launch: Launch, name: str, labels: Mapping[str, str], options: SlurmOptions) -> JobRequest:
    """The job of a launch. Raises DeployerError for more GPUs than the options ask for."""
    if launch.gpus > options.gpus:
        raise DeployerError(f"the server wants {launch.gpus} GPUs, deployer.gres asks for {options.gpus}")
    submit = [_program("sbatch", options), *_arguments(launch, name, labels, options)]
    return JobRequest(
        argv=tuple(over_ssh(submit, options, secrets=bool(launch.secrets))),
        stdin=script_of(launch, name, options),
        secrets=launch.secrets,
        labels=labels,
        model=launch.model.name,
    )


def over_ssh(words: list[str], options: SlurmOptions, *, secrets: bool = False) -> list[str]:
    """The same command where the study wants it run: here, or on its host, each word quoted for the shell there."""
    if options.host is None:
        return words
    taking = ["sh", "-c", _TAKE_SECRETS, "sh", *words] if secrets else words
    return [*options.ssh, options.host, join(taking)]


def command(program: str, *arguments: str, options: SlurmOptions) -> list[str]:
    """A command of Slurm, where the study wants it run."""
    return over_ssh([_program(program, options), *arguments], options)


def labels_of(comment: str) -> Mapping[str, str] | None:
    """The labels in a job's comment; None for a job that is none of ours."""
    return dict(parse_qsl(comment.removeprefix(COMMENT))) if comment.startswith(COMMENT) else None


def read_body(request: Request) -> JobRequest:
    """The body of a request that came back from JSON. Raises DeployerError when it is none of ours."""
    try:
        return JobRequest.model_validate(request.body)
    except ValidationError as error:
        raise DeployerError(f"{request.name} is no request of the Slurm deployer: {error}") from error


def secrets_of(body: JobRequest) -> Mapping[str, str]:
    """The values of its secrets. Raises DeployerError for one that is missing, or that has a line break."""
    found = {}
    for name, source in body.secrets.items():
        value = os.environ.get(source)
        if value is None:
            raise DeployerError(f"the secret {name} is to be read from the variable {source}, which is not set here")
        if "\n" in value:
            raise DeployerError(f"the secret {name} has a line break, and cannot be given to a job")
        found[name] = value
    return found


def _program(name: str, options: SlurmOptions) -> str:
    return f"{options.commands.rstrip('/')}/{name}" if options.commands else name


def _arguments(launch: Launch, name: str, labels: Mapping[str, str], options: SlurmOptions) -> list[str]:
    variables = dict.fromkeys((*INHERITED, *options.inherit_env, *map(variable, launch.secrets)))
    return [
        "--parsable",
        f"--job-name={name}",
        f"--comment={COMMENT}{urlencode(sorted(labels.items()))}",
        *resources(options),
        "--no-requeue",
        f"--time={options.time}",
        f"--output={options.folder}/{name}{LOG}",
        "--open-mode=truncate",
        f"--export={','.join(variables)}",
    ]


def resources(options: SlurmOptions) -> list[str]:
    """Where a job runs and what it gets, as sbatch takes it: all that the options say but the time."""
    asked = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "gres": options.gres,
        "gpus-per-node": options.gpus_per_node,
        "cpus-per-task": options.cpus_per_task,
        "mem": options.mem,
        "constraint": options.constraint,
        "nodelist": options.nodelist,
        "exclude": options.exclude,
    }
    named = (f"--{option}={value}" for option, value in asked.items() if value is not None)
    return ["--nodes=1", "--ntasks=1", *named]
