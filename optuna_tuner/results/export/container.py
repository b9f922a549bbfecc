"""A container of the deployer `docker`, as data that both its formats read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna_tuner.errors import ExportError
from optuna_tuner.results.export.taken import Taken
from optuna_tuner.values import Json

DEPLOYER = "docker"
_UNITS = ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))


@dataclass(frozen=True, kw_only=True)
class Container:
    """The body of the Engine API's `POST /containers/create`, of a container that does not end by itself."""

    body: Mapping[str, Json]

    @cached_property
    def host(self) -> Mapping[str, Json]:
        """What it has of its machine."""
        return mapping(self.body["HostConfig"])

    @property
    def image(self) -> str:
        """What it is made of."""
        return str(self.body["Image"])

    @property
    def entrypoint(self) -> str:
        """The program."""
        return texts(self.body["Entrypoint"])[0]

    @property
    def arguments(self) -> Sequence[str]:
        """What the program is given; the address in it is the container's own."""
        return texts(self.body["Cmd"])

    @property
    def env(self) -> Mapping[str, str]:
        """Its variables, without the secrets."""
        pairs = (each.partition("=") for each in texts(self.body["Env"]))
        return {name: value for name, _, value in pairs}

    @property
    def port(self) -> str:
        """The one port inside, without its protocol."""
        return next(iter(mapping(self.body["ExposedPorts"]))).partition("/")[0]

    @property
    def user(self) -> str:
        """User and group; empty for the image's own."""
        return str(self.body.get("User") or "")

    @property
    def network(self) -> str:
        """Its network; empty for Docker's own."""
        name = str(self.host["NetworkMode"])
        return "" if name == "bridge" else name

    @property
    def mounts(self) -> Iterator[Mapping[str, Json]]:
        """Folders and volumes, in the Engine API's words."""
        return map(mapping, items(self.host["Mounts"]))

    @property
    def ulimits(self) -> Iterator[tuple[str, Json, Json]]:
        """Name, soft and hard limit of each."""
        return ((str(each["Name"]), each["Soft"], each["Hard"]) for each in map(mapping, items(self.host["Ulimits"])))

    def size(self, name: str) -> str:
        """Bytes as Docker's command line takes them; empty where it has no such limit."""
        value = self.host.get(name)
        if not isinstance(value, int):
            return ""
        return next((f"{value // unit}{letter}" for unit, letter in _UNITS if value % unit == 0), str(value))


def container(taken: Taken) -> Container:
    """What the deployer `docker` starts. Raises ExportError where the study does not say what a container needs."""
    demand_image(taken)
    return Container(body=mapping(taken.body(DEPLOYER, {"max_life_s": None})["container"]))


def demand_image(taken: Taken) -> None:
    """Raise ExportError where the study does not say what a container needs."""
    launch, spec = taken.launch, taken.study.spec
    if launch.image is None:
        raise ExportError(f"the study names no image; say which has {spec.engine.kind}: --image NAME:TAG")
    if launch.argv[0] == sys.executable and spec.deployer.kind not in {DEPLOYER, "kubernetes"}:
        raise ExportError(
            f"the server of this study is a program of this machine ({launch.argv[0]}), which no image has; "
            "take --to shell, or tune the image's own: engine: {command: [...]}"
        )


def mapping(value: Json) -> Mapping[str, Json]:
    """A part of the body that has names."""
    return value if isinstance(value, dict) else {}


def items(value: Json) -> Sequence[Json]:
    """A part of the body that is a list."""
    return value if isinstance(value, list) else []


def texts(value: Json) -> Sequence[str]:
    """A part of the body that is a list of texts."""
    return [str(each) for each in items(value)]
