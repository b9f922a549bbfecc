"""What the local deployer is told and what it sends: its options, its request's body, the server's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Launch, Request, Slot

STRICT = ConfigDict(frozen=True, extra="forbid")
MIB = 1 << 20
Port = Annotated[int, Field(ge=1024, le=65535)]

# What a server needs of its surroundings; OPTUNA_TUNER_STORAGE, which may hold a password, is not among it.
INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ", "TMPDIR", "XDG_*"),
    *("OPTUNA_TUNER_HOME", "OPTUNA_TUNER_FAKE_GPUS"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "SSL_CERT_*", "*_proxy", "*_PROXY"),
    *("CUDA_*", "NVIDIA_*", "NCCL_*", "ROCR_*", "HIP_*", "HF_*", "TORCH*", "PYTORCH_*", "TRITON_*"),
    *("VLLM_*", "SGLANG_*", "SGL_*", "FLASHINFER_*", "GGML_*", "LLAMA_*", "OMP_*", "MKL_*", "OPENBLAS_*"),
)


class LocalOptions(BaseModel):
    """Options of `deployer: {kind: local}`."""

    model_config = STRICT

    cwd: str | None = Field(default=None, description="Working folder of the server; default: the worker's own.")
    inherit_env: tuple[str, ...] = Field(
        default=(),
        description="More environment variables that the server inherits from the worker, by name; * stands for any "
        "letters. PATH, HOME, CUDA_*, HF_*, VLLM_* and the like always are.",
        examples=[["PYTHONPATH", "MY_LAB_*"]],
    )
    max_log_mb: int = Field(default=5, ge=1, le=1024, description="The log's beginning and end are kept, in MiB.")
    ports: tuple[Port, Port] = Field(default=(20000, 29999), description="Lowest and highest port to choose from.")
    max_life_s: float = Field(default=86400, gt=0, description="A server is ended after so many seconds in any case.")
    grace_s: float = Field(default=10, ge=0, description="Seconds between SIGTERM and SIGKILL when nobody says more.")

    @field_validator("ports")
    @classmethod
    def _in_order(cls, ports: tuple[int, int]) -> tuple[int, int]:
        if ports[0] > ports[1]:
            raise ValueError("the lowest port comes first")
        return ports


class ServerRequest(BaseModel):
    """The body of a request: all of it but the values of secrets and of inherited variables."""

    model_config = STRICT

    argv: tuple[str, ...] = Field(min_length=1)
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    inherit_env: tuple[str, ...]
    cwd: str | None
    cores: tuple[int, ...]
    devices: tuple[str, ...]
    labels: Mapping[str, str]
    model: str
    ports: tuple[int, int]
    max_log_mb: int
    max_life_s: float
    grace_s: float


def body_of(launch: Launch, labels: Mapping[str, str], slot: Slot, options: LocalOptions) -> ServerRequest:
    """The launch on this slot. Raises DeployerError for more GPUs than the slot has."""
    if slot.gpus and launch.gpus > len(slot.gpus):
        raise DeployerError(f"the server wants {launch.gpus} GPUs, the slot {slot.name} has {len(slot.gpus)}")
    # Without a GPU in the slot an empty list hides those that belong to others.
    gpus = {"CUDA_VISIBLE_DEVICES": ",".join(slot.gpus)}
    return ServerRequest(
        argv=launch.argv,
        env={"PYTHONUNBUFFERED": "1", **launch.env, **gpus},
        secrets=launch.secrets,
        inherit_env=(*INHERITED, *options.inherit_env),
        cwd=options.cwd,
        cores=slot.cores,
        devices=slot.devices,
        labels=labels,
        model=launch.model.name,
        ports=options.ports,
        max_log_mb=options.max_log_mb,
        max_life_s=options.max_life_s,
        grace_s=options.grace_s,
    )


def read_body(request: Request) -> ServerRequest:
    """The body of a request that came back from JSON. Raises DeployerError when it is none of ours or cannot be run."""
    try:
        body = ServerRequest.model_validate(request.body)
    except ValidationError as error:
        raise DeployerError(f"{request.name} is no request of the local deployer: {error}") from error
    for name in (*body.env, *body.secrets):
        if not name or "=" in name:
            raise DeployerError(f'"{name}" cannot be the name of an environment variable')
    if any("\0" in text for text in (*body.argv, *body.env, *body.env.values())):
        raise DeployerError("a NUL character cannot stand in an argument or in an environment variable")
    return body


def environment(body: ServerRequest) -> Mapping[str, str]:
    """The server's environment, with the values of its secrets. Raises DeployerError for one that is missing."""
    inherited = {name: value for name, value in os.environ.items() if _is_inherited(name, body.inherit_env)}
    return {**inherited, **body.env, **{name: _secret(name, source) for name, source in body.secrets.items()}}


def _is_inherited(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _secret(name: str, source: str) -> str:
    value = os.environ.get(source)
    if value is None:
        raise DeployerError(f"the secret {name} is to be read from the variable {source}, which is not set here")
    return value
