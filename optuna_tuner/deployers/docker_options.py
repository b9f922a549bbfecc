"""What a study may say of `deployer: {kind: docker}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from optuna_tuner.deployers.container_words import checked, inside_problem, path_problem

STRICT = ConfigDict(frozen=True, extra="forbid")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"([1-9]\d{0,14})([kmgt])")
_ADDRESS = re.compile(r"(?:unix:///|tcp://|ssh://)[^\s]+")


def size(text: str) -> int:
    """In bytes; the units are powers of 1024, as everywhere in Docker. Raises ValueError."""
    found = _SIZE.fullmatch(text.lower())
    if found is None:
        raise ValueError(f'must be a whole number with k, m, g or t behind it, such as 512m or 40g, not "{text}"')
    return int(found[1]) * _UNITS[found[2]]


def _a_size(text: str) -> str:
    size(text)
    return text


def _a_path(text: str) -> str:
    return checked(path_problem(text), text)


def _inside(text: str) -> str:
    return checked(inside_problem(text), text)


def _a_source(text: str) -> str:
    if text.startswith("/"):
        _a_path(text)
        if text.endswith("/docker.sock"):
            raise ValueError("whoever holds Docker's socket rules the machine: it is not given to a server")
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise ValueError(f'must be an absolute path or the name of a volume, not "{text}"')
    return text


Size = Annotated[str, AfterValidator(_a_size)]
Inside = Annotated[str, AfterValidator(_inside)]
Port = Annotated[int, Field(ge=1024, le=65535)]
VolumeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Mount(BaseModel):
    """A folder, a file or a volume that the server sees."""

    model_config = STRICT

    source: Annotated[str, AfterValidator(_a_source)] = Field(
        description="Absolute path on the daemon's machine, or the name of a volume.", examples=["/srv/adapters"]
    )
    target: Inside = Field(description="Absolute path in the container.", examples=["/adapters"])
    read_only: bool = Field(default=True, description="Whether the server may not write there.")


class DockerOptions(BaseModel):
    """Options of `deployer: {kind: docker}`."""

    model_config = STRICT

    host: str | None = Field(
        default=None,
        description="Address of the daemon: unix:///path, tcp://host:port or ssh://user@host; default: the worker's "
        "DOCKER_HOST, else the local socket.",
        examples=["ssh://me@gpu-1"],
    )
    pull: Literal["never", "missing"] = Field(
        default="never", description="missing: an image that the daemon does not have is pulled before the first trial."
    )
    memory: Size | None = Field(
        default=None, description="Most memory of a server, without swap: 64g; default: no limit.", examples=["64g"]
    )
    shm_size: Size = Field(
        default="16g", description="Most that /dev/shm may hold; processes of one server exchange tensors there."
    )
    ipc: Literal["private", "host"] = Field(
        default="private", description="host shares the machine's shared memory, which then has no limit of its own."
    )
    network: VolumeName = Field(default="bridge", description="Docker network of the server; ports are published.")
    publish: str = Field(
        default="127.0.0.1",
        description="Address of the daemon's machine where the server's port is published; the worker must reach it.",
    )
    ports: tuple[Port, Port] | None = Field(
        default=None, description="Lowest and highest port to publish on; default: the daemon chooses."
    )
    caches: Mapping[VolumeName, Inside] = Field(
        default_factory=lambda: {"optuna-tuner-cache": "/root/.cache"},
        description="Volumes that live on between trials, by name, and where the server sees them: compile caches, "
        "models from the hub.",
    )
    mounts: tuple[Mount, ...] = Field(
        default=(),
        description="More that the server sees; a model that is a path is mounted by itself, read-only.",
        examples=[[{"source": "/srv/adapters", "target": "/adapters"}]],
    )
    user: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*(:[A-Za-z0-9_][A-Za-z0-9_-]*)?$",
        description="User and group in the container; default: the image's.",
        examples=["1000:1000"],
    )
    cap_drop: tuple[Annotated[str, Field(pattern=r"^[A-Z_]+$")], ...] = Field(
        default=("ALL",), description="Capabilities that are taken from the server."
    )
    cap_add: tuple[Annotated[str, Field(pattern=r"^[A-Z_]+$")], ...] = Field(
        default=(), description="Capabilities that the server keeps.", examples=[["SYS_NICE", "IPC_LOCK"]]
    )
    pids_limit: int = Field(default=32768, ge=64, description="Most processes and threads of a server.")
    ulimits: Mapping[Annotated[str, Field(pattern=r"^[a-z]+$")], int] = Field(
        default_factory=dict, description="Limits by name, -1 for none.", examples=[{"memlock": -1, "stack": 67108864}]
    )
    max_life_s: int | None = Field(
        default=86400,
        ge=1,
        description="A server ends itself after so many seconds in any case; null: never, for an image without "
        "GNU timeout.",
    )
    max_log_mb: int = Field(default=5, ge=1, le=1024, description="The log's beginning and end are kept, in MiB.")

    @field_validator("host")
    @classmethod
    def _an_address(cls, host: str | None) -> str | None:
        if host is not None and not _ADDRESS.fullmatch(host):
            raise ValueError(f'must be unix:///path, tcp://host:port or ssh://user@host, not "{host}"')
        return host

    @field_validator("network")
    @classmethod
    def _with_ports(cls, network: str) -> str:
        if network in {"host", "none"}:
            raise ValueError(f'"{network}" cannot publish a port of its own; name a network such as bridge')
        return network

    @field_validator("publish")
    @classmethod
    def _an_interface(cls, publish: str) -> str:
        try:
            address = ip_address(publish)
        except ValueError:
            raise ValueError(f'must be an IP address of the daemon\'s machine, not "{publish}"') from None
        if address.is_unspecified:
            raise ValueError("would let everybody reach the server; name one address of the daemon's machine")
        return publish

    @field_validator("ports")
    @classmethod
    def _in_order(cls, ports: tuple[int, int] | None) -> tuple[int, int] | None:
        if ports and ports[0] > ports[1]:
            raise ValueError("the lowest port comes first")
        return ports

    @property
    def is_elsewhere(self) -> bool:
        """Whether the study itself names a daemon of another machine, which every worker then means."""
        return self.host is not None and not self.host.startswith("unix:")
