"""What a study may say of a Slurm cluster: names, numbers and paths, checked so that none can mean anything else."""

from __future__ import annotations

import json
import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

STRICT = ConfigDict(frozen=True, extra="forbid")
Port = Annotated[int, Field(ge=1024, le=65535)]

_TIME = re.compile(r"(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?|(\d+)(?::(\d+))?(?::(\d+))?)")
_GPUS = re.compile(r"gpu(?::[A-Za-z][\w.-]*)?(?::(\d+))?")


def _like(pattern: str, wanted: str) -> AfterValidator:
    """A text of this form. Slurm would take much else for something else, or for an option of its own."""
    form = re.compile(pattern)

    def check(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"must be {wanted}; it is {json.dumps(text[:60])}")
        return text

    return AfterValidator(check)


Name = Annotated[str, _like(r"\w[\w.:+@-]{0,127}", "a name of letters, digits and _.:+@-, not beginning with a dash")]
Names = Annotated[str, _like(r"\w[\w.:+@-]*(,\w[\w.:+@-]*)*", "names with commas between them")]
Nodes = Annotated[str, _like(r"\w[\w.\[\],-]*", "node names as Slurm writes them, for example node[01-04,7]")]
Gres = Annotated[
    str,
    _like(
        r"[A-Za-z]\w*(:[A-Za-z][\w.-]*)?(:\d+)?(,[A-Za-z]\w*(:[A-Za-z][\w.-]*)?(:\d+)?)*", "like gpu:2 or gpu:h100:2"
    ),
]
GpusPerNode = Annotated[str, _like(r"([A-Za-z][\w.-]*:)?[1-9]\d{0,3}", "a number of GPUs, in quotes, or TYPE:NUMBER")]
Features = Annotated[str, _like(r"[\w\[(][\w\[\]()&|*,.:=-]*", "features, for example h100&nvlink")]
Memory = Annotated[str, _like(r"\d+[KMGT]?", "a size for example 64G")]
Module = Annotated[str, _like(r"\w[\w.+/-]*", "the name of a module, for example cuda/12.4")]
Host = Annotated[str, _like(r"(\w[\w.-]*@)?\w[\w.-]*", "HOST or USER@HOST, as ssh takes it")]
Variable = Annotated[str, _like(r"[A-Za-z_]\w*", "the name of an environment variable")]
Path = Annotated[str, _like(r"[^\s%\0-][^\n\0%]*", "a path without line breaks and %, not beginning with a dash")]
Address = Annotated[str, _like(r"[\w{][\w.{}-]*", "a host name or an address, in which {node} is the node's name")]
Bind = Annotated[str, _like(r"[^\s,\0-][^\s,\0]*", "SOURCE, SOURCE:TARGET or SOURCE:TARGET:OPTIONS")]
Image = Annotated[str, _like(r"[^\s\0-]\S*", "a SIF file, or an address such as docker://vllm/vllm-openai:v0.32.0")]


class ApptainerOptions(BaseModel):
    """The container in which the server runs."""

    model_config = STRICT

    program: Path = Field(default="apptainer", description="Apptainer on the compute node; singularity takes the same.")
    image: Image | None = Field(
        default=None,
        description="SIF file or address; default: docker:// and the engine's image.",
        examples=["/images/vllm-0.32.0.sif"],
    )
    binds: tuple[Bind, ...] = Field(
        default=(), description="Folders that the server sees, as --bind takes them.", examples=[["/models"]]
    )
    gpus: bool = Field(default=True, description="Give it the job's GPUs (--nv).")


class SlurmOptions(BaseModel):
    """Options of `deployer: {kind: slurm}`."""

    model_config = STRICT

    host: Host | None = Field(
        default=None,
        description="A login node on which the commands of Slurm are run by ssh; default: they are run here.",
        examples=["me@login1"],
    )
    ssh: tuple[str, ...] = Field(
        default=("ssh", "-oBatchMode=yes", "-oConnectTimeout=15"),
        min_length=1,
        description="The command that reaches `host`.",
    )
    commands: Path | None = Field(
        default=None, description="Folder of sbatch, squeue, scancel and scontrol; default: as PATH finds them."
    )
    partition: Names | None = Field(default=None, description="sbatch --partition.")
    account: Name | None = Field(default=None, description="sbatch --account.")
    qos: Name | None = Field(default=None, description="sbatch --qos.")
    gres: Gres | None = Field(default=None, description="sbatch --gres.", examples=["gpu:h100:2"])
    gpus_per_node: GpusPerNode | None = Field(
        default=None, description="sbatch --gpus-per-node, instead of a gpu in gres.", examples=["h100:2"]
    )
    cpus_per_task: int | None = Field(default=None, ge=1, le=4096, description="sbatch --cpus-per-task.")
    mem: Memory | None = Field(default=None, description="sbatch --mem, memory of the node.", examples=["128G"])
    time: str = Field(
        default="02:00:00",
        description="sbatch --time, after which the job ends in any case. More than all `limits` of a trial together.",
    )
    constraint: Features | None = Field(default=None, description="sbatch --constraint.")
    nodelist: Nodes | None = Field(default=None, description="sbatch --nodelist.")
    exclude: Nodes | None = Field(default=None, description="sbatch --exclude.")
    modules: tuple[Module, ...] = Field(default=(), description="Loaded in this order, before the server is started.")
    apptainer: ApptainerOptions | None = Field(
        default=None, description="Run the server in a container; default: as a program of the node."
    )
    cwd: Path | None = Field(default=None, description="Working folder of the server; default: the home folder.")
    folder: Path = Field(
        default=".optuna-tuner/slurm",
        description="Folder for logs and tickets, which the login node and the compute nodes share; relative to the "
        "home folder.",
    )
    inherit_env: tuple[Variable, ...] = Field(
        default=(), description="More environment variables that the job takes over from here, by name."
    )
    bind: Address = Field(default="0.0.0.0", description="Address on which the server listens on its node.")  # noqa: S104  it is to be reached from other hosts
    address: Address = Field(
        default="{node}", description="How a node is reached from here; {node} is its name in Slurm."
    )
    ports: tuple[Port, Port] = Field(default=(20000, 29999), description="Lowest and highest port to choose from.")
    tunnel: tuple[str, ...] | None = Field(
        default=None,
        description="Command that leads from {host}:{port} here to {node}:{node_port}; default: none.",
        examples=[["ssh", "-N", "-L", "{host}:{port}:{node}:{node_port}", "login1"]],
    )
    poll_s: float = Field(default=2, ge=1, le=60, description="Seconds between two questions to Slurm's controller.")
    lost_after_s: float = Field(
        default=330,
        ge=0,
        description="So long is waited, when a server does not answer any more, for Slurm to say that its node is "
        "down: the cluster's SlurmdTimeout, and a bit.",
    )
    max_log_mb: int = Field(default=5, ge=1, le=1024, description="The log's beginning and end are read, in MiB.")

    @field_validator("time")
    @classmethod
    def _a_time(cls, text: str) -> str:
        if not seconds_of(text):
            wanted = "minutes, hours:minutes:seconds or days-hours:minutes:seconds, and more than nothing"
            raise ValueError(f"must be {wanted}; it is {json.dumps(text[:60])}")
        return text

    @field_validator("ports")
    @classmethod
    def _in_order(cls, ports: tuple[int, int]) -> tuple[int, int]:
        if ports[0] > ports[1]:
            raise ValueError("the lowest port comes first")
        return ports

    @field_validator("tunnel")
    @classmethod
    def _leads_somewhere(cls, tunnel: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if tunnel is not None:
            words = "\0".join(tunnel)
            missing = [each for each in ("{port}", "{node_port}") if each not in words]
            if missing:
                raise ValueError(f"must say where it leads: {' and '.join(missing)} is not in it")
        return tunnel

    @model_validator(mode="after")
    def _gpus_once(self) -> Self:
        if self.gpus_per_node and self.gres and any(_GPUS.fullmatch(each) for each in self.gres.split(",")):
            raise ValueError("gpus_per_node and a gpu in gres say the same; keep one of them")
        return self

    @property
    def gpus(self) -> int:
        """GPUs of each server."""
        if self.gpus_per_node:
            return int(self.gpus_per_node.rpartition(":")[2])
        found = [_GPUS.fullmatch(each) for each in (self.gres or "").split(",")]
        return sum(int(each[1] or 1) for each in found if each)


def seconds_of(time: str) -> int | None:
    """A time limit as sbatch reads it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S. None for anything else."""
    found = _TIME.fullmatch(time)
    if not found:
        return None
    day, hour, minute, second, *rest = (int(each) if each else 0 for each in found.groups())
    if found[1] is not None:
        return ((day * 24 + hour) * 60 + minute) * 60 + second
    first, middle, last = rest
    return (first * 60 + middle) * 60 + last if found[7] is not None else first * 60 + middle
