"""One Docker daemon, spoken to through Docker's SDK, which no other file knows. Every refusal is a DeployerError."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import cast

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env, parse_repository_tag

from optuna_tuner.deployers.bounded_stream import bounded
from optuna_tuner.deployers.docker_pull import lines_of
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Cause, Diagnosis, Json

Facts = Mapping[str, Json]  # what the daemon tells, as it tells it
OLDEST_API = (1, 41)  # of Docker Engine 20.10
_TIMEOUT_S = 60  # for one answer; a busy daemon needs a second or two
_FOUND, _CONFLICT = 200, 409
_USUAL = "unix:///var/run/docker.sock"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Docker's, for an image without one
_FAILED = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, ValueError)


class Daemon:
    """A daemon while it is spoken to. Containers are named by their ids."""

    def __init__(self, client: docker.APIClient) -> None:
        self._client = client

    @cached_property
    def about(self) -> Facts:
        """What it told of itself when it was first asked."""
        return cast("Facts", self._client.info())

    @property
    def identity(self) -> str:
        """Its name among all daemons."""
        return str(self.about["ID"])

    def demand_version(self) -> None:
        """Raise DeployerError for an engine that is too old."""
        if tuple(map(int, self._client.api_version.split("."))) < OLDEST_API:
            raise DeployerError(f"Docker Engine {self.about['ServerVersion']} is too old: 20.10 or newer is needed")

    def has_image(self, image: str) -> bool:
        """Whether it could start containers of it now."""
        try:
            self._client.inspect_image(image)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return False
        return True

    def pull(self, image: str) -> Iterator[str]:
        """Fetch an image, and say how far it is. Raises DeployerError where it does not come."""
        name, tag = parse_repository_tag(image)
        return lines_of(self._client.pull(name, tag=tag or "latest", stream=True, decode=True))

    def create(self, name: str, container: Facts) -> str:
        """Make a container, which does not run yet; returns its id."""
        made = self._client.create_container_from_config(dict(container), name)  # type: ignore[no-untyped-call]
        return str(made["Id"])

    def has_program(self, container: str, program: str) -> bool:
        """Whether a container that was made has a program: at this path, or in its PATH."""
        if "/" in program and not program.startswith("/"):
            return True  # it depends on the image's working folder: the server's own end will tell
        config = cast("Facts", self._client.inspect_container(container)["Config"])
        words = [str(word) for word in cast("list[Json]", config.get("Env") or [])]
        path = next((word.removeprefix("PATH=") for word in words if word.startswith("PATH=")), _DEFAULT_PATH)
        places = [program] if "/" in program else [f"{folder}/{program}" for folder in path.split(":") if folder]
        return any(self._has_file(container, place) for place in places)

    def _has_file(self, container: str, path: str) -> bool:
        url = f"{self._client.base_url}/v{self._client.api_version}/containers/{container}/archive"
        return self._client.head(url, params={"path": path}, timeout=_TIMEOUT_S).status_code == _FOUND

    def start(self, container: str) -> None:
        """Let it run."""
        self._client.start(container)

    def inspect(self, container: str) -> Facts | None:
        """What is known of it; None when it is not there."""
        try:
            return cast("Facts", self._client.inspect_container(container))
        except NotFound:
            return None

    def find(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Names of all containers that bear these labels, whatever their state, by id."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        found = self._client.containers(all=True, filters={"label": wanted})
        return {str(each["Id"]): str(each["Names"][0]).lstrip("/") for each in found}

    def happened(self, container: str, since: str, until: str) -> Sequence[str]:
        """What happened to it between two moments, as far as the daemon has known since it was started."""
        filters = {"container": container, "type": "container"}
        # Moments go through as texts: as numbers they would lose their fractions, and with them the latest events.
        found = self._client.events(since, until, filters, decode=True)  # type: ignore[call-overload]
        return [str(event["Action"]) for event in found]

    def log(self, container: str, most_bytes: int) -> bytes:
        """What it wrote: all of it, or the beginning and the end. Nothing when it is not there."""
        try:
            parts = self._client.logs(container, stdout=True, stderr=True, stream=True, follow=False)
            return bounded(parts, most_bytes)
        except NotFound:
            return b""

    def stop(self, container: str, grace_s: int) -> None:
        """End it: SIGTERM, and SIGKILL after the grace. Nothing when it is not there."""
        try:
            self._client.stop(container, timeout=grace_s)
        except NotFound:
            return

    def remove(self, container: str) -> None:
        """See it gone, with what it wrote. Nothing when it is not there."""
        try:
            self._client.remove_container(container, v=True, force=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
            self._see_removed(container)  # somebody else removes it at this moment

    def _see_removed(self, container: str) -> None:
        try:
            self._client.wait(container, condition="removed")
        except NotFound:
            return


@contextmanager
def speaking_to(host: str | None) -> Iterator[Daemon]:
    """A connection to the daemon at this address, or at the one that the environment names.

    Raises DeployerError when there is none, and for all that it refuses meanwhile.
    """
    told = kwargs_from_env()
    address = host or told.get("base_url") or _USUAL
    told["base_url"] = address
    try:
        _knock(address)
        client = docker.APIClient(version="auto", timeout=_TIMEOUT_S, use_ssh_client=True, **told)
    except (*_FAILED, OSError) as error:
        raise DeployerError(f"the Docker daemon at {address} cannot be reached: {_words(error)}") from error
    try:
        yield Daemon(client)
    except APIError as error:
        raise _refusal(error) from error
    except _FAILED as error:
        raise DeployerError(f"the Docker daemon at {address} does not answer: {_words(error)}") from error
    finally:
        client.close()


def _knock(address: str) -> None:
    """See that somebody listens: the SDK leaves a socket open that finds nobody. Raises OSError."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address.removeprefix("unix://"))


def _refusal(error: APIError) -> DeployerError:
    """The daemon's own words, and what they mean where that is certain."""
    words = str(error.explanation or error).strip()
    if "port is already allocated" in words or "address already in use" in words:
        return DeployerError(words, diagnosis=Diagnosis(cause=Cause.PORT_IN_USE, evidence=words))
    hints = {
        "could not select device driver": "the daemon's machine needs the NVIDIA Container Toolkit",
        "No such image": "docker pull it, or let the study do it: deployer.pull: missing",
    }
    hint = next((f"; {hint}" for sign, hint in hints.items() if sign in words), "")
    return DeployerError(f"the Docker daemon refuses: {words}{hint}")


def _words(error: BaseException) -> str:
    """The innermost reason: connection errors come wrapped several times."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
