"""What a server of this host holds, and what is left of it; the names are unique, so that others may test beside us."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.supervision.processes import Process, lives
from optuna_tuner.deployers.supervision.record import read_record
from optuna_tuner.errors import DeployerError
from optuna_tuner.store.ids import new_id
from optuna_tuner.testing import small_servers
from optuna_tuner.values import Handle, Launch, Model, Request, Slot

PATIENCE_S = 50.0
MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
SLOT = Slot(name="gpu-0", host="here", gpus=("GPU-steps",))


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


def local(**options: object) -> Local:
    return Local(Local.Options.model_validate(options))


def request(deployer: Local, source: str) -> Request:
    name = f"tuner-{new_id()}"
    launch = Launch(argv=(sys.executable, "-c", source, "{host}", "{port}"), model=MODEL)
    return deployer.render(launch, name, {"attempt": name}, SLOT)


@contextmanager
def started(deployer: Local, source: str, folder: Path) -> Iterator[Handle]:
    handle = deployer.start(request(deployer, source), folder)
    try:
        yield handle
    finally:
        deployer.stop(handle, 0)


def is_free(device: str) -> bool:
    try:
        with FileLock(home.server_lock(device), timeout=0):
            return True
    except Timeout:
        return False


def test_a_server_holds_its_device_from_its_start_to_its_end(tmp_path: Path) -> None:
    (device,) = SLOT.devices
    with started(local(), small_servers.SILENT, tmp_path):
        assert not is_free(device)
    assert is_free(device)


def test_no_server_is_started_on_the_port_of_a_stranger(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        port = next(port for port in range(29000, 29400) if stranger.connect_ex(("127.0.0.1", port)))
    with socket.create_server(("127.0.0.1", port)):
        deployer = local(ports=(port, port))
        with pytest.raises(DeployerError, match=f"no port from {port} to {port} is free"):
            deployer.start(request(deployer, small_servers.SILENT), tmp_path)


def test_what_a_killed_supervisor_left_is_ended_before_the_end_is_confirmed(tmp_path: Path) -> None:
    deployer = local()
    with started(deployer, small_servers.LEAVES_STUBBORN_ORPHAN, tmp_path) as handle:
        orphans = poll(lambda: seen(handle) or None, Deadline.after(PATIENCE_S))
        assert orphans, "it never had descendants"
        os.kill(int(str(handle.ref["pid"])), signal.SIGKILL)
        deployer.stop(handle, 0.2)
        assert not any(map(lives, orphans))


def seen(handle: Handle) -> tuple[Process, ...]:
    record = read_record(str(handle.ref["folder"]))
    return record.seen if record else ()
