"""One server of this host: its handle and what is left of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from optuna_tuner import home
from optuna_tuner.deployers.supervision import processes, record
from optuna_tuner.deployers.supervision.processes import Process
from optuna_tuner.deployers.supervision.record import LABELS, MARKER, Record, read_record
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Handle, Request

KIND = "local"
SERVER_LOG = "server.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """What a handle names. The supervisor is none where it was never seen."""

    name: str
    host: str
    boot_id: str
    folder: str
    port: int
    supervisor: Process
    model: str

    @classmethod
    def here(cls, name: str, folder: Path, model: str, found: Record | None) -> LocalServer:
        """A server of this host as its folder tells of it."""
        return cls(
            name=name,
            host=socket.gethostname(),
            boot_id=processes.boot_id(),
            folder=str(folder),
            port=found.port if found else 0,
            supervisor=found.supervisor if found else Process(0, 0),
            model=model,
        )

    @classmethod
    def of(cls, handle: Handle) -> LocalServer:
        """What the handle names. Raises DeployerError when it is no local one, or when another host runs it."""
        ref = handle.ref
        try:
            server = cls(
                name=handle.name,
                host=str(ref["host"]),
                boot_id=str(ref["boot_id"]),
                folder=str(ref["folder"]),
                port=int(str(ref["port"])),
                supervisor=Process(int(str(ref["pid"])), int(str(ref["start"]))),
                model=str(ref["model"]),
            )
        except (KeyError, ValueError) as error:
            raise DeployerError(f"{handle.name} is no handle of the local deployer: {error!r}") from error
        if server.rebooted and server.host != socket.gethostname():
            raise DeployerError(f"{handle.name} runs on {server.host}; it can only be seen and stopped there")
        return server

    @property
    def handle(self) -> Handle:
        """As any process can load it."""
        return Handle(
            deployer=KIND,
            name=self.name,
            ref={
                "host": self.host,
                "boot_id": self.boot_id,
                "folder": self.folder,
                "port": self.port,
                "pid": self.supervisor.pid,
                "start": self.supervisor.start,
                "model": self.model,
            },
        )

    @property
    def rebooted(self) -> bool:
        """Whether the machine was restarted since: then nothing of it can be left."""
        return self.boot_id != processes.boot_id()

    @property
    def log(self) -> str:
        """Path of the log."""
        return f"{self.folder}/{SERVER_LOG}"

    def record(self) -> Record | None:
        """What the supervisor has written; None before it wrote anything, and after the server was stopped."""
        return read_record(self.folder)

    def refreshed(self) -> LocalServer:
        """The same with what its supervisor has written since."""
        return LocalServer.here(self.name, Path(self.folder), self.model, self.record())

    def left(self) -> set[Process]:
        """Every process that is known to belong to it and still lives, its supervisor too.

        Three nets: the processes on record, those that bear its mark, and the descendants of both.
        """
        if self.rebooted:
            return set()
        found = self.record()
        known = {self.supervisor, *(found.everybody if found else ())}
        known |= {process for process, env in processes.environments(MARKER) if env[MARKER] == self.name}
        known = {process for process in known if process.pid and processes.lives(process)}
        return known | set(processes.below({process.pid for process in known})) if known else known

    def forget(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def claim(request: Request, model: str) -> LocalServer:
    """Make the server's folder, complete or not at all. Raises DeployerError when a server of this name still lives."""
    folder = home.servers_folder() / request.name
    if folder.parent != home.servers_folder() or request.name in {"", ".", ".."}:
        raise DeployerError(f'"{request.name}" cannot be the name of a server')
    server = LocalServer.here(request.name, folder, model, read_record(str(folder)))
    if server.left():
        raise DeployerError(f"a server named {request.name} still runs on this host")
    server.forget()
    draft = folder.with_name(f".{request.name}.{os.getpid()}")
    draft.mkdir(parents=True, mode=0o700)
    record.write(str(draft), record.REQUEST, json.dumps({"name": request.name, "body": dict(request.body)}))
    draft.rename(folder)
    return LocalServer.here(request.name, folder, model, None)


def find(labels: Mapping[str, str]) -> Iterator[LocalServer]:
    """All servers of this host that bear these labels: those with a folder, then those that only /proc shows."""
    named = set()
    for folder in home.servers_folder().glob("[!.]*"):
        server_labels, model = _request_of(folder)
        if labels.items() <= server_labels.items():
            named.add(folder.name)
            yield LocalServer.here(folder.name, folder, model, read_record(str(folder)))
    for _, env in processes.environments(MARKER):
        name = env[MARKER]
        if name not in named and labels.items() <= _labels_of(env).items():
            named.add(name)
            yield LocalServer.here(name, home.servers_folder() / name, "", None)


def _request_of(folder: Path) -> tuple[Mapping[str, str], str]:
    try:
        body = json.loads((folder / record.REQUEST).read_text(encoding="utf-8"))["body"]
    except (
        FileNotFoundError,
        NotADirectoryError,
        json.JSONDecodeError,
    ):  # somebody stops it just now, or power was cut
        return {}, ""
    return body["labels"], body["model"]


def _labels_of(env: Mapping[str, str]) -> Mapping[str, str]:
    try:
        labels = json.loads(env.get(LABELS, "{}"))
    except ValueError:
        return {}
    return labels if isinstance(labels, dict) else {}
