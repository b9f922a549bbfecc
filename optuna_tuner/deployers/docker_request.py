"""What the deployer `docker` sends: the body of the Engine API's `POST /containers/create`, made by a pure function."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, JsonValue, ValidationError

from optuna_tuner.deployers.container_words import image_problem
from optuna_tuner.deployers.docker_misfits import model_problem
from optuna_tuner.deployers.docker_options import STRICT, DockerOptions, size
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json, Launch, Request, Slot

PORT = 8000  # inside the container, where nobody else listens
PORT_KEY = f"{PORT}/tcp"
PREFIX = "optuna_tuner."  # of all our labels
MODEL_LABEL = f"{PREFIX}model"
TIMED_OUT = 124  # GNU timeout's exit code when it ended its program
_STUBBORN_S = 600  # from the SIGTERM of `timeout` to its SIGKILL; longer than any teardown, which it would cut short
_LOG_FILE = "100m"  # a flood cannot fill the daemon's disk: two files of this size


class DockerRequest(BaseModel):
    """The body of a request: what is sent, and the secrets that are added to it on the way, by reference."""

    model_config = STRICT

    container: Mapping[str, JsonValue]
    secrets: Mapping[str, str]

    @property
    def image(self) -> str:
        """What the container is made of."""
        return str(self.container["Image"])

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that the image must have."""
        entrypoint = self.container["Entrypoint"]
        return (str(entrypoint[0]), str(entrypoint[-1])) if isinstance(entrypoint, list) else ()


def body_of(launch: Launch, labels: Mapping[str, str], slot: Slot, options: DockerOptions) -> DockerRequest:
    """The launch on this slot. Raises DeployerError for what cannot be sent."""
    _refuse(launch, slot, options)
    command = [word.replace("{host}", "0.0.0.0").replace("{port}", str(PORT)) for word in launch.argv]  # noqa: S104  inside
    env = {"PYTHONUNBUFFERED": "1", **launch.env, **({} if slot.gpus else {"NVIDIA_VISIBLE_DEVICES": "void"})}
    container: dict[str, Json] = {
        "Image": launch.image,
        "Entrypoint": [*_deadline(options), command[0]],  # the image's own is not used
        "Cmd": list[Json](command[1:]),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": {MODEL_LABEL: launch.model.name, **{f"{PREFIX}{name}": value for name, value in labels.items()}},
        "ExposedPorts": {PORT_KEY: {}},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(launch, slot, options),
    }
    if options.user is not None:
        container["User"] = options.user
    return DockerRequest(container=container, secrets=launch.secrets)


def _refuse(launch: Launch, slot: Slot, options: DockerOptions) -> None:
    paths = map(model_problem, (launch.model.path, launch.model.tokenizer))
    problem = next(filter(None, (image_problem(launch.image, "docker"), *paths)), None)
    if problem:
        raise DeployerError(problem)
    for name in (*launch.env, *launch.secrets):
        if not name or "=" in name:
            raise DeployerError(f'"{name}" cannot be the name of an environment variable')
    if any("\0" in text for text in (*launch.argv, *launch.env.values())):
        raise DeployerError("a NUL character cannot stand in an argument or in an environment variable")
    if slot.gpus and launch.gpus > len(slot.gpus):
        raise DeployerError(f"the server wants {launch.gpus} GPUs, the slot {slot.name} has {len(slot.gpus)}")
    if slot.gpus and options.is_elsewhere:
        raise DeployerError(f"the GPUs of the slot {slot.name} are not those of {options.host}: run the worker there")


def _deadline(options: DockerOptions) -> list[Json]:
    """What runs the server and ends it when all of us have died; in the foreground it passes signals to it alone."""
    if options.max_life_s is None:
        return []
    return ["timeout", "--foreground", f"--kill-after={_STUBBORN_S}", str(options.max_life_s)]


def _host_config(launch: Launch, slot: Slot, options: DockerOptions) -> dict[str, Json]:
    host_port = f"{options.ports[0]}-{options.ports[1]}" if options.ports else ""
    config: dict[str, Json] = {
        "Init": True,  # reaps what the server's processes leave behind, and passes signals on
        "RestartPolicy": {"Name": "no"},
        "NetworkMode": options.network,
        "PortBindings": {PORT_KEY: [{"HostIp": options.publish, "HostPort": host_port}]},
        "IpcMode": options.ipc,
        "Mounts": list(_mounts(launch, options)),
        "CapDrop": list(options.cap_drop),
        "CapAdd": list(options.cap_add),
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": options.pids_limit,
        "Ulimits": [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in options.ulimits.items()],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": _LOG_FILE, "max-file": "2"}},
    }
    if options.ipc != "host":
        config["ShmSize"] = size(options.shm_size)
    if options.memory is not None:
        config |= {"Memory": size(options.memory), "MemorySwap": size(options.memory)}
    if slot.gpus:
        gpus: Json = {"Driver": "", "DeviceIDs": list[Json](slot.gpus), "Capabilities": [["gpu"]]}
        config["DeviceRequests"] = [gpus]
    if slot.cores and not options.is_elsewhere:
        config["CpusetCpus"] = ",".join(map(str, slot.cores))
    return config


def _mounts(launch: Launch, options: DockerOptions) -> Iterator[Json]:
    """The model, what the study says, and the caches; where the study mounts something itself, nothing else is."""
    own = {mount.target for mount in options.mounts}
    paths = {path.rstrip("/"): None for path in (launch.model.path, launch.model.tokenizer) if path.startswith("/")}
    for path in paths:
        if path not in own:
            yield {"Type": "bind", "Source": path, "Target": path, "ReadOnly": True}
    for mount in options.mounts:
        kind = "bind" if mount.source.startswith("/") else "volume"
        yield {"Type": kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
    for name, target in options.caches.items():
        if target not in own:
            yield {"Type": "volume", "Source": name, "Target": target, "ReadOnly": False}


def read_body(request: Request) -> DockerRequest:
    """The body of a request that came back from JSON. Raises DeployerError when it is none of ours."""
    try:
        return DockerRequest.model_validate(request.body)
    except ValidationError as error:
        raise DeployerError(f"{request.name} is no request of the deployer docker: {error}") from error


def with_secrets(body: DockerRequest) -> dict[str, Json]:
    """What is sent, with the values of the secrets. Raises DeployerError for one that is not set here."""
    unset = [f"{name} from {source}" for name, source in body.secrets.items() if source not in os.environ]
    if unset:
        raise DeployerError(f"secrets are to be read from variables that are not set here: {', '.join(unset)}")
    env = body.container["Env"]
    plain = env if isinstance(env, list) else []
    return {
        **body.container,
        "Env": [*plain, *(f"{name}={os.environ[source]}" for name, source in body.secrets.items())],
    }


def grace(seconds: float) -> int:
    """Docker counts whole seconds; a server is never given less than it was promised."""
    return max(0, math.ceil(seconds))
