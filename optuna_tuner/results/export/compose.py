"""A compose.yaml with one service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from optuna_tuner.results.export.container import Container, container, mapping
from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.shell import how_to_open
from optuna_tuner.results.export.taken import Taken, published, variable
from optuna_tuner.values import Json


def compose(taken: Taken) -> str:
    """What the deployer `docker` sends, in the words of the Compose Specification."""
    found = container(taken)
    document: dict[str, Json] = {"services": {taken.name: _service(taken, found)}, **_outside(found)}
    return comment((*heading(taken), *_how(taken))) + as_yaml(document)


def as_yaml(document: Mapping[str, Json]) -> str:
    """In the given order; long texts stay on their line."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=float("inf"))


def _how(taken: Taken) -> Iterator[str]:
    if taken.launch.gpus:
        yield f"It takes {taken.launch.gpus} of the GPUs; device_ids in the place of count would say which."
    yield f"Start it: docker compose --file THIS_FILE up --detach. Ask it: curl {taken.url}/v1/models"
    yield how_to_open(taken)


def _service(taken: Taken, found: Container) -> dict[str, Json]:
    host = found.host
    secrets = {
        name: f"${{{variable(source)}:?must hold the secret {name}}}" for name, source in taken.launch.secrets.items()
    }
    service: dict[str, Json] = {
        "image": plain(found.image),
        "entrypoint": [plain(found.entrypoint)],
        "command": [plain(word) for word in found.arguments],
        "environment": {**{name: plain(value) for name, value in found.env.items()}, **secrets},
        "ports": [f"{published(taken.asked)}:{found.port}"],
        "volumes": [_volume(mount) for mount in found.mounts],
        "restart": "unless-stopped",
        "init": True,
        "user": found.user,
        "networks": [found.network] if found.network else [],
        "ipc": host["IpcMode"],
        "shm_size": found.size("ShmSize"),
        "mem_limit": found.size("Memory"),
        "memswap_limit": found.size("MemorySwap"),
        "pids_limit": host["PidsLimit"],
        "cap_drop": host["CapDrop"],
        "cap_add": host["CapAdd"],
        "security_opt": host["SecurityOpt"],
        "ulimits": {name: {"soft": soft, "hard": hard} for name, soft, hard in found.ulimits},
        "logging": _logging(found),
        "healthcheck": {"disable": True},
        "deploy": _gpus(taken.launch.gpus),
    }
    return {name: value for name, value in service.items() if value not in ("", [], {})}


def _volume(mount: Mapping[str, Json]) -> dict[str, Json]:
    source, target = plain(str(mount["Source"])), plain(str(mount["Target"]))
    return {"type": mount["Type"], "source": source, "target": target, "read_only": mount["ReadOnly"]}


def _logging(found: Container) -> dict[str, Json]:
    log = mapping(found.host["LogConfig"])
    return {"driver": log["Type"], "options": dict(mapping(log["Config"]))}


def _gpus(count: int) -> dict[str, Json]:
    if not count:
        return {}
    device: dict[str, Json] = {"driver": "nvidia", "count": count, "capabilities": ["gpu"]}
    return {"resources": {"reservations": {"devices": [device]}}}


def _outside(found: Container) -> dict[str, Json]:
    """Volumes and networks by the names that they have for Docker; Compose would put its project's before them."""
    volumes = [str(mount["Source"]) for mount in found.mounts if mount["Type"] == "volume"]
    outside: dict[str, Json] = {}
    if volumes:
        outside["volumes"] = {name: {"name": name} for name in volumes}
    if found.network:
        outside["networks"] = {found.network: {"external": True}}
    return outside


def plain(text: str) -> str:
    """Compose puts variables in the place of `$`; a doubled one stays what it is."""
    return text.replace("$", "$$")
