"""The start of a local server's supervisor, and this process's end of it."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import optuna_tuner
from optuna_tuner import home
from optuna_tuner.deployers.local_request import MIB, ServerRequest, environment
from optuna_tuner.deployers.local_server import LocalServer
from optuna_tuner.deployers.supervision import processes
from optuna_tuner.deployers.supervision.record import LABELS, MARKER
from optuna_tuner.deployers.supervisor import Order
from optuna_tuner.errors import DeployerError

_ANSWER_S = 30.0  # a supervisor answers in some 30 ms; a loaded machine or a slow disk may take longer
_BOOT = "import sys; sys.path.append(sys.argv[-1]); from optuna_tuner.deployers.supervisor import main; main()"
_COMPLAINTS = "supervisor.log"
# Supervisors of this process, by server: their pipes must stay open, and they are waited for when they end.
_supervisors: dict[str, subprocess.Popen[bytes]] = {}


def supervise(server: LocalServer, body: ServerRequest) -> None:
    """Start a supervisor and it the server. Raises DeployerError when either cannot be started."""
    marks = {MARKER: server.name, LABELS: json.dumps(dict(body.labels)), "SPT_NOENV": "1"}
    order = _order(server, body, {**environment(body), **marks})
    process = _spawn(server, marks)
    _supervisors[server.name] = process
    answer = _exchange(process, order)
    if not answer:
        raise DeployerError(f"the supervisor of {server.name} did not start: {_complaints(server)}")
    if error := json.loads(answer).get("error"):
        raise DeployerError(error)


def let_go(name: str) -> None:
    """Close the pipe to a supervisor of this process and wait for its end. It ends at once when its server is gone."""
    process = _supervisors.pop(name, None)
    if process is None:
        return
    with suppress(BrokenPipeError):
        process.communicate()


def _order(server: LocalServer, body: ServerRequest, env: Mapping[str, str]) -> Order:
    return Order(
        argv=list(body.argv),
        env=env,
        cwd=body.cwd or str(Path.cwd()),
        cores=list(body.cores),
        ports=body.ports,
        locks_folder=str(home.locks_folder()),
        device_locks=[str(home.server_lock(device)) for device in body.devices],
        folder=server.folder,
        log=server.log,
        max_log_bytes=body.max_log_mb * MIB,
        grace_s=body.grace_s,
        max_life_s=body.max_life_s,
        owner=processes.this(),
        mark=server.mark,
    )


def _spawn(server: LocalServer, marks: Mapping[str, str]) -> subprocess.Popen[bytes]:
    root = str(Path(optuna_tuner.__file__).parents[1])
    argv = [sys.executable, "-I", "-S", "-c", _BOOT, "optuna-tuner-supervisor", server.name, root]
    with Path(server.folder, _COMPLAINTS).open("wb") as complaints:
        return subprocess.Popen(  # noqa: S603  an argument list, no shell
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={"LANG": "C.UTF-8", **marks},
            cwd="/",
            start_new_session=True,  # Ctrl-C is the worker's to answer
        )


def _exchange(process: subprocess.Popen[bytes], order: Order) -> bytes:
    """Give the order and take the answer; nothing when the supervisor dies or stays silent."""
    if process.stdin is None or process.stdout is None:
        return b""
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order._asdict()).encode() + b"\n")
        process.stdin.flush()
    if not select.select([process.stdout], [], [], _ANSWER_S)[0]:
        process.kill()
    return process.stdout.readline()


def _complaints(server: LocalServer) -> str:
    text = Path(server.folder, _COMPLAINTS).read_text(encoding="utf-8", errors="replace").strip()
    return text or f"no answer within {_ANSWER_S:g} s"
