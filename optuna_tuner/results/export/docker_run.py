"""A bash script with one `docker run`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from shlex import quote

from optuna_tuner.results.export.container import Container, container, mapping, texts
from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.shell import command, how_to_open, secrets
from optuna_tuner.results.export.taken import Taken, published
from optuna_tuner.values import Json


def docker_run(taken: Taken) -> str:
    """What the deployer `docker` sends, without its labels and its deadline."""
    found = container(taken)
    options = "".join(f" \\\n  {quote(option)}" for option in _options(taken, found))
    return "".join(
        (
            "#!/usr/bin/env bash\n",
            comment((*heading(taken), *_how(taken))),
            "set -eu\n",
            secrets(taken.launch.secrets),
            f"exec docker run{options} \\\n  {command((found.image, *found.arguments))}\n",
        )
    )


def _how(taken: Taken) -> Iterator[str]:
    if taken.launch.gpus:
        yield f"It takes {taken.launch.gpus} of the GPUs; --gpus '\"device=0,1\"' would say which."
    yield f"Start it: bash THIS_FILE. Ask it: curl {taken.url}/v1/models"
    yield f"Read its log: docker logs --follow {taken.name}. End it: docker rm --force {taken.name}"
    yield how_to_open(taken)


def _options(taken: Taken, found: Container) -> Iterator[str]:
    host = found.host
    yield f"--name={taken.name}"
    yield "--detach"
    yield "--restart=unless-stopped"
    yield "--init"
    yield f"--publish={published(taken.asked)}:{found.port}"
    if taken.launch.gpus:
        yield f"--gpus={taken.launch.gpus}"
    yield from (f"--mount={_mount(each)}" for each in found.mounts)
    yield from (f"--env={name}={value}" for name, value in found.env.items())
    yield from (f"--env={name}" for name in taken.launch.secrets)
    yield from _limits(found)
    log = mapping(host["LogConfig"])
    yield f"--log-driver={log['Type']}"
    yield from (f"--log-opt={name}={value}" for name, value in mapping(log["Config"]).items())
    yield "--no-healthcheck"
    yield f"--entrypoint={found.entrypoint}"


def _limits(found: Container) -> Iterator[str]:
    host = found.host
    named = {
        "user": found.user,
        "network": found.network,
        "ipc": str(host["IpcMode"]),
        "shm-size": found.size("ShmSize"),
        "memory": found.size("Memory"),
        "memory-swap": found.size("MemorySwap"),
        "pids-limit": str(host["PidsLimit"]),
    }
    yield from (f"--{option}={value}" for option, value in named.items() if value)
    yield from (f"--cap-drop={each}" for each in texts(host["CapDrop"]))
    yield from (f"--cap-add={each}" for each in texts(host["CapAdd"]))
    yield from (f"--security-opt={each}" for each in texts(host["SecurityOpt"]))
    yield from (f"--ulimit={name}={soft}:{hard}" for name, soft, hard in found.ulimits)


def _mount(mount: Mapping[str, Json]) -> str:
    """One row of CSV, as Docker reads it: a path may have a comma."""
    read_only = ["readonly"] if mount["ReadOnly"] else []
    row = io.StringIO()
    fields = (f"{name}={mount[name.title()]}" for name in ("type", "source", "target"))
    csv.writer(row, lineterminator="").writerow([*fields, *read_only])
    return row.getvalue()
