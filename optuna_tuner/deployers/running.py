"""A server that runs already: nothing is started, and nothing is ended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

import httpx
import psutil
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from optuna_tuner.contracts import Deployer
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.http import authorization, get
from optuna_tuner.values import Endpoint, Handle, Json, Launch, Request, Slot, State, Status

ASK_S = 10.0
NO_START = "a server that runs already is started and stopped by nobody here"
RELAYS = frozenset({"docker-proxy", "kubectl", "rootlessport", "socat", "ssh"})  # who listens for somebody else


def base_url(text: str) -> str:
    """The URL without a slash or `/v1` at its end. Raises ValueError, which says what is wrong with it."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f'"{text}" is no URL of a server; write http://HOST:PORT or https://HOST')
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the URL must hold no user, password, query or fragment; a key is given by its variable")
    return text.rstrip("/").removesuffix("/v1")


class Key(BaseModel):
    """A key that is never written down: only the variable that holds it is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = Field(min_length=1, description="Environment variable that holds the key.", examples=["OPENAI_API_KEY"])


class RunningOptions(BaseModel):
    """Options of `deployer: {kind: running}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(base_url)] = Field(
        description="Where it answers, with or without /v1.", examples=["http://127.0.0.1:8000/v1"]
    )
    api_key: Key | None = Field(default=None, description="What it wants as a bearer token, by reference.")


class Running(Deployer):
    """A server of somebody else's. Its flags are what they are, so a study with it has an empty space."""

    kind: ClassVar[str] = "running"
    summary: ClassVar[str] = "a server that runs already, by its URL; it is neither started nor stopped"
    Options: ClassVar[type[BaseModel]] = RunningOptions
    runs_already: ClassVar[bool] = True

    def __init__(self, options: BaseModel) -> None:
        self._options = RunningOptions.model_validate(options.model_dump())

    def misfits(self, study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Flags to search."""
        if study.get("space"):
            yield ("space",), "must be {}: the flags of a server that runs cannot be changed"

    def prepare(self, launch: Launch) -> None:
        """See that it answers, has the model and takes the key, before anything else is done."""
        variable = self._options.api_key.env if self._options.api_key else ""
        if variable and not os.environ.get(variable):
            raise EnvironmentFaultError(f"the key is to be read from {variable}, which is not set")
        endpoint = self._endpoint(launch.model.name)
        try:
            answer = get(f"{endpoint.url}/v1/models", ASK_S, authorization(endpoint))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EnvironmentFaultError(f"nothing answers at {endpoint.url}: {error}") from error
        if answer.status_code in {401, 403}:
            how = f"the key in {variable} is not taken" if variable else "it wants a key: name its variable"
            raise EnvironmentFaultError(f"{endpoint.url} answers {answer.status_code}: {how}")
        names = _models(answer) if answer.is_success else []
        if not names:
            raise EnvironmentFaultError(f"{endpoint.url}/v1/models answers {answer.status_code}, and lists no model")
        if endpoint.model not in names:
            raise EnvironmentFaultError(f'{endpoint.url} serves {", ".join(names)}, not "{endpoint.model}"')

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:  # noqa: ARG002  nothing bears them
        """Where it is."""
        body: dict[str, Json] = {"url": self._options.url, "model": launch.model.name}
        return Request(deployer=self.kind, name=name, body=body)

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  nothing is written
        """Nothing."""
        return Handle(deployer=self.kind, name=request.name, ref=dict(request.body))

    def state(self, handle: Handle) -> State:  # noqa: ARG002  whoever started it knows
        """Whether it answers is seen by who asks it."""
        return State(status=Status.RUNNING, detail=NO_START)

    def endpoint(self, handle: Handle) -> Endpoint | None:
        """As the study says it. Raises DeployerError for a handle that is none of this deployer's."""
        if "model" not in handle.ref:
            raise DeployerError(f"{handle.name} is no handle of the deployer {self.kind}")
        return self._endpoint(str(handle.ref["model"]))

    def _endpoint(self, model: str) -> Endpoint:
        key = self._options.api_key.env if self._options.api_key else ""
        return Endpoint(url=self._options.url, model=model, key_variable=key)

    def process(self, handle: Handle) -> int | None:  # noqa: ARG002  there is one
        """Who listens at its port, where that is this machine's own and shows it."""
        address = urlsplit(self._options.url)
        if not _is_loopback(address.hostname or "") or address.port is None:
            return None
        return next(filter(_is_server, _listeners(address.port)), None)

    def log(self, handle: Handle) -> str:  # noqa: ARG002  it has none
        """Nothing: it is with whoever started it."""
        return ""

    def stop(self, handle: Handle, grace_s: float) -> None:
        """Nothing: it is not ours."""

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:  # noqa: ARG002  nothing bears them
        """Nothing: nothing was started."""
        return ()


def _models(answer: httpx.Response) -> list[str]:
    """What it lists; nothing where it keeps no list."""
    try:
        listed = answer.json()["data"]
        return [str(each["id"]) for each in listed]
    except (ValueError, KeyError, TypeError):
        return []


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listeners(port: int) -> Iterator[int]:
    """Processes that listen there, as far as this user may see them."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return
    for each in connections:
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
            yield each.pid


def _is_server(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() not in RELAYS
    except psutil.Error:
        return False
