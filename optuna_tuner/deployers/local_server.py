"""One server of this host: its handle and what is left of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from optuna_tuner import home
from optuna_tuner.deployers.supervision import processes, record
from optuna_tuner.deployers.supervision.processes import Process
from optuna_tuner.deployers.supervision.record import LABELS, MARKER, Record, read_record
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Handle, Request

KIND = "local"
SERVER_LOG = "server.log"
_ATTEMPT = "attempt"  # the label that is a server's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, as far as it can still be known."""

    labels: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    devices: Sequence[str] = ()
    host: str = field(default_factory=socket.gethostname)
    boot_id: str = field(default_factory=processes.boot_id)

    @classmethod
    def of(cls, folder: Path) -> Asked:
        """As the server's folder tells; empty while somebody stops it just now, and where a power cut emptied it."""
        try:
            found = json.loads((folder / record.REQUEST).read_text(encoding="utf-8"))
            body = found["body"]
            return cls(
                labels=body["labels"],
                model=body["model"],
                devices=body["devices"],
                host=found.get("host", socket.gethostname()),
                boot_id=found.get("boot_id", processes.boot_id()),
            )
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
            return cls()


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
    mark: int  # see `mark_of`

    @classmethod
    def here(cls, name: str, folder: Path, asked: Asked, found: Record | None) -> LocalServer:
        """A server of this host as its folder tells of it."""
        return cls(
            name=name,
            host=asked.host,
            boot_id=asked.boot_id,
            folder=str(folder),
            port=found.port if found else 0,
            supervisor=found.supervisor if found else Process(0, 0),
            model=asked.model,
            mark=mark_of(name, asked.labels),
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
                mark=int(str(ref.get("mark", 0))),
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
                "mark": self.mark,
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
        found = self.record()
        if found is None:
            return self
        return replace(self, port=found.port, supervisor=found.supervisor)

    def left(self) -> set[Process]:
        """Every process that is known to belong to it and still lives, its supervisor too.

        Four nets: the processes on record, those that bear its name in their environment, those that bear its mark,
        which no program can wipe off, and the descendants of all these.
        """
        if self.rebooted:
            return set()
        found = self.record()
        known = {self.supervisor, *(found.everybody if found else ())}
        known |= {process for process, env in processes.environments(MARKER) if env[MARKER] == self.name}
        known |= set(processes.marked(self.mark))
        known = {process for process in known if process.pid and processes.lives(process)}
        return known | set(processes.below({process.pid for process in known})) if known else known

    def forget(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def mark_of(name: str, labels: Mapping[str, str]) -> int:
    """A number that every process of a server bears as its limit of file locks, which Linux has long ceased to apply.

    Every descendant inherits it, whatever its session, parent and environment, and only root can change it. It comes
    from the attempt, so that it can be found again by it, or from the name where there is none.
    """
    text = labels.get(_ATTEMPT) or name
    return processes.LEAST_MARK | int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


def claim(request: Request, asked: Asked) -> LocalServer:
    """Make the server's folder, complete or not at all. Raises DeployerError when a server of this name still lives."""
    folder = home.servers_folder() / request.name
    if folder.parent != home.servers_folder() or request.name in {"", ".", ".."}:
        raise DeployerError(f'"{request.name}" cannot be the name of a server')
    server = LocalServer.here(request.name, folder, asked, read_record(str(folder)))
    if server.left():
        raise DeployerError(f"a server named {request.name} still runs on this host")
    server.forget()
    _remove_drafts()
    draft = folder.with_name(f".{request.name}{_drafted_here(os.getpid())}")
    draft.mkdir(parents=True, mode=0o700)
    said = {"name": request.name, "host": asked.host, "boot_id": asked.boot_id, "body": dict(request.body)}
    record.write(str(draft), record.REQUEST, json.dumps(said))
    draft.rename(folder)
    return LocalServer.here(request.name, folder, asked, None)


def _drafted_here(pid: int) -> str:
    return f".{socket.gethostname()}.{pid}"


def _remove_drafts() -> None:
    """Those of workers of this host that died over them: nobody else knows of them."""
    for draft in home.servers_folder().glob(".*"):
        pid = draft.name.rpartition(".")[2]
        if pid.isdigit() and draft.name.endswith(_drafted_here(int(pid))) and processes.look(int(pid)) is None:
            shutil.rmtree(draft, ignore_errors=True)


def on_device(device: str) -> Iterator[LocalServer]:
    """All servers of this host that were started on this device and whose end was not confirmed yet."""
    return (server for server, asked in _in_folders() if device in asked.devices)


def find(labels: Mapping[str, str]) -> Iterator[LocalServer]:
    """All servers of this host that bear these labels: those with a folder, then those that only /proc shows."""
    named = set()
    for server, asked in _in_folders():
        if labels.items() <= asked.labels.items():
            named.add(server.name)
            yield server
    for _, env in processes.environments(MARKER):
        name, asked = env[MARKER], Asked(labels=_labels_of(env))
        if name not in named and labels.items() <= asked.labels.items():
            named.add(name)
            yield LocalServer.here(name, home.servers_folder() / name, asked, None)
    attempt = labels.get(_ATTEMPT, "")
    if attempt and not named and any(processes.marked(mark_of("", labels))):
        yield LocalServer.here(attempt, home.servers_folder() / attempt, Asked(labels=labels), None)


def _in_folders() -> Iterator[tuple[LocalServer, Asked]]:
    """Those of this host: several may share a home folder."""
    for folder in home.servers_folder().glob("[!.]*"):
        asked = Asked.of(folder)
        if asked.host == socket.gethostname():
            yield LocalServer.here(folder.name, folder, asked, read_record(str(folder))), asked


def _labels_of(env: Mapping[str, str]) -> Mapping[str, str]:
    try:
        labels = json.loads(env.get(LABELS, "{}"))
    except ValueError:
        return {}
    return labels if isinstance(labels, dict) else {}
