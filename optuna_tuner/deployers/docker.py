"""Servers as containers of a Docker daemon, of this machine or of another one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers import docker_misfits
from optuna_tuner.deployers.docker_container import endpoint_of, stamp, started_at, state_of
from optuna_tuner.deployers.docker_options import DockerOptions
from optuna_tuner.deployers.docker_request import PREFIX, DockerRequest, body_of, grace, read_body, with_secrets
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.values import Endpoint, Handle, Json, Launch, Request, Slot, State, Status

if TYPE_CHECKING:
    from optuna_tuner.deployers.docker_daemon import Daemon

MIB = 1 << 20

logger = logging.getLogger(__name__)


class Docker(Deployer):
    """Containers of a Docker daemon, Engine 20.10 or newer, each with one published port.

    The image's own entrypoint is not used: the engine's command line is the whole command. A container ends itself
    after `max_life_s`, so that none runs for ever when all who know of it have died.
    """

    kind: ClassVar[str] = "docker"
    summary: ClassVar[str] = "containers of a Docker daemon, with their port on loopback"
    Options: ClassVar[type[BaseModel]] = DockerOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = DockerOptions.model_validate(options.model_dump())
        self.host_bound = not self._options.is_elsewhere  # DOCKER_HOST and a socket are of one machine

    def misfits(self, study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """No image, or none that can be; a model that cannot be mounted."""
        return docker_misfits.misfits(study)

    def prepare(self, launch: Launch) -> None:
        """Demand the daemon and the image; pull the image where the study allows it."""
        try:
            with self.speaking() as daemon:
                daemon.demand_version()
                if launch.image and not daemon.has_image(launch.image):
                    self._fetch(daemon, launch.image)
        except DeployerError as error:
            raise EnvironmentFaultError(str(error)) from error

    def _fetch(self, daemon: Daemon, image: str) -> None:
        if self._options.pull == "never":
            how = f"docker pull {image}, or let the study do it: deployer: {{kind: docker, pull: missing}}"
            raise EnvironmentFaultError(f"the Docker daemon has no image {image}: {how}")
        for line in daemon.pull(image):
            logger.warning("pulling %s: %s", image, line)

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:
        """The container, as the Engine API takes it, and the names of the secrets that are added on the way."""
        body = body_of(launch, labels, slot, self._options)
        return Request(deployer=self.kind, name=name, body=body.model_dump(mode="json"))

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  the daemon keeps what there is to keep
        """Make the container, see that it has the programs, and start it; one that does not start is removed."""
        body = read_body(request)
        container = with_secrets(body)
        with self.speaking() as daemon, ExitStack() as undo:
            made = daemon.create(request.name, container)
            undo.callback(daemon.remove, made)  # whatever goes wrong, also an interrupt
            _demand_programs(daemon, made, body)
            image = (daemon.inspect(made) or {}).get("Image")  # its id: a tag may name another one tomorrow
            daemon.start(made)
            handle = _handle(daemon, request.name, made)
            undo.pop_all()
            return replace(handle, ref={**handle.ref, "image": image})

    def state(self, handle: Handle) -> State:
        """An exit is the server's own only where nobody asked for it, and the daemon was there to see it."""
        with self.speaking() as daemon:
            facts = daemon.inspect(_id(handle))
            if facts is None:
                _demand_same(daemon, handle)
                return State(status=Status.LOST, detail="its container is gone")

            def happened() -> Sequence[str]:
                now = stamp(str(daemon.about["SystemTime"]))
                return daemon.happened(_id(handle), started_at(facts), now)

            return state_of(facts, happened)

    def endpoint(self, handle: Handle) -> Endpoint | None:
        """Where the port is published; None before the container runs and after its end."""
        with self.speaking() as daemon:
            facts = daemon.inspect(_id(handle))
        return endpoint_of(facts) if facts else None

    def log(self, handle: Handle) -> str:
        """What the server wrote so far; nothing after `stop`."""
        with self.speaking() as daemon:
            return daemon.log(_id(handle), self._options.max_log_mb * MIB).decode(errors="replace")

    def stop(self, handle: Handle, grace_s: float) -> None:
        """SIGTERM, SIGKILL after the grace, and the container is removed; with it ends all that it started."""
        with self.speaking() as daemon:
            if daemon.inspect(_id(handle)) is None:
                _demand_same(daemon, handle)
                return
            daemon.stop(_id(handle), grace(grace_s))
            daemon.remove(_id(handle))

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        """Containers whatever their state, also those that were never started."""
        ours = {f"{PREFIX}{name}": value for name, value in labels.items()}
        with self.speaking() as daemon:
            return tuple(_handle(daemon, name, id_) for id_, name in daemon.find(ours).items())

    @contextmanager
    def speaking(self) -> Iterator[Daemon]:
        """A connection to the study's daemon. Raises DeployerError where there is none."""
        try:
            from optuna_tuner.deployers.docker_daemon import speaking_to  # noqa: PLC0415  the SDK is an extra
        except ImportError as error:
            raise DeployerError("Docker's SDK is missing: pip install 'optuna-tuner[docker]'") from error
        with speaking_to(self._options.host) as daemon:
            yield daemon


def found_daemon() -> str:
    """Which daemon a study that names none would use, in words. Raises DeployerError where there is none."""
    with Docker(DockerOptions()).speaking() as daemon:
        daemon.demand_version()
        return f"Engine {daemon.about['ServerVersion']} on {daemon.about['Name']}"


def _demand_programs(daemon: Daemon, container: str, body: DockerRequest) -> None:
    """The daemon itself would only say that a container ended with 127."""
    for program in body.programs:
        if not daemon.has_program(container, program):
            hint = "deployer.max_life_s needs it" if program == "timeout" else "engine.command says what the image runs"
            raise DeployerError(f"the image {body.image} has no program {program}: {hint}")


def _demand_same(daemon: Daemon, handle: Handle) -> None:
    """Raise DeployerError where the container is not missing but another daemon is asked."""
    if handle.ref.get("daemon") != daemon.identity:
        raise DeployerError(f"{handle.name} was started by another Docker daemon than the one that is asked here")


def _handle(daemon: Daemon, name: str, container: str) -> Handle:
    return Handle(deployer=Docker.kind, name=name, ref={"container": container, "daemon": daemon.identity})


def _id(handle: Handle) -> str:
    found = handle.ref.get("container")
    if not isinstance(found, str):
        raise DeployerError(f"{handle.name} is no handle of the deployer docker")
    return found
