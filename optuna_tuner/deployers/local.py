"""Servers as processes of this host, each under a supervisor that ends it with its worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner import home
from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers import local_server
from optuna_tuner.deployers.local_end import end
from optuna_tuner.deployers.local_request import LocalOptions, body_of, read_body
from optuna_tuner.deployers.local_server import Asked, LocalServer
from optuna_tuner.deployers.local_start import let_go, supervise
from optuna_tuner.deployers.supervision import bounded_log
from optuna_tuner.deployers.supervision.locks import LOOPBACK
from optuna_tuner.deployers.supervision.processes import lives
from optuna_tuner.deployers.supervision.record import Record
from optuna_tuner.deployers.supervisor import EXITED, OWNER_DIED, STOPPED, TOO_OLD
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Endpoint, Handle, Launch, Request, Slot, State, Status

_WHY_ENDED: Mapping[str, str] = {
    STOPPED: "it was stopped",
    OWNER_DIED: "the worker that started it died",
    TOO_OLD: "it was ended after max_life_s",
}


class Local(Deployer):
    """Processes of this host, on loopback. A server ends with the worker that started it, also by `kill -9`.

    An exit code is the main process's own, or minus the number of the signal that killed it.
    """

    kind: ClassVar[str] = local_server.KIND
    summary: ClassVar[str] = "processes of this host, on loopback"
    host_bound = True
    runs_own_programs: ClassVar[bool] = True
    Options: ClassVar[type[BaseModel]] = LocalOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = LocalOptions.model_validate(options.model_dump())

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:
        """The command, its environment without secrets, its cores and GPUs, and how it is ended."""
        body = body_of(launch, labels, slot, self._options)
        return Request(deployer=self.kind, name=name, body=body.model_dump(mode="json"))

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  all it keeps lies in the server's folder
        """Start the supervisor, and it the server. Raises DeployerError when the command cannot be run at all."""
        body = read_body(request)
        try:
            home.locks_folder().mkdir(parents=True, exist_ok=True)
            asked = Asked(labels=body.labels, model=body.model, devices=body.devices)
            server = local_server.claim(request, asked)
            with ExitStack() as undo:
                undo.callback(self.stop, server.handle, 0)  # whatever goes wrong, also an interrupt
                supervise(server, body)
                undo.pop_all()
        except OSError as error:
            raise DeployerError(f"{request.name} cannot be started: {error}") from error
        return server.refreshed().handle

    def state(self, handle: Handle) -> State:
        """An exit is seen as soon as the main process has ended, while the rest of its tree may still be ending."""
        server = LocalServer.of(handle)
        if server.rebooted:
            return State(status=Status.LOST, detail="the machine was restarted")
        alive = bool(server.supervisor.pid) and lives(server.supervisor)
        return _state(server.record(), alive=alive)  # read after the look: a supervisor writes first and then ends

    def endpoint(self, handle: Handle) -> Endpoint | None:
        """On loopback; known from the start."""
        server = LocalServer.of(handle)
        return Endpoint(url=f"http://{LOOPBACK}:{server.port}", model=server.model) if server.port else None

    def process(self, handle: Handle) -> int | None:
        """Its main process, once the supervisor has started it."""
        found = LocalServer.of(handle).record()
        return found.main.pid or None if found else None

    def log(self, handle: Handle) -> str:
        """What the server wrote so far; nothing after `stop`."""
        return bounded_log.read(LocalServer.of(handle).log)

    def stop(self, handle: Handle, grace_s: float) -> None:
        """End the whole tree: SIGTERM to the main process, then to all, SIGKILL after the grace; then see it gone."""
        server = LocalServer.of(handle)
        end(server, grace_s)
        let_go(server.name)
        server.forget()

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        """Servers whose end was not confirmed yet."""
        return tuple(server.handle for server in local_server.find(labels))


def _state(record: Record | None, *, alive: bool) -> State:
    if record is None:
        return State(status=Status.LOST, detail="it was stopped, or never started")
    if record.ended_by == EXITED:
        return State(status=Status.EXITED, exit_code=record.exit_code, detail=record.detail)
    if record.ended_by:
        return State(status=Status.LOST, exit_code=record.exit_code, detail=_WHY_ENDED[record.ended_by])
    if not alive:
        return State(status=Status.LOST, detail="its supervisor is gone without a record of the server's end")
    return State(status=Status.RUNNING if record.main.pid else Status.STARTING)
