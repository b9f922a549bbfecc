import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers import local_server
from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.local_request import MIB, read_body
from optuna_tuner.deployers.local_start import supervise
from optuna_tuner.deployers.supervision.processes import Process, environments, lives, look
from optuna_tuner.deployers.supervision.record import MARKER, read_record
from optuna_tuner.errors import DeployerError
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.deployer_cases import START, Started
from optuna_tuner.tuning.slots import holding
from optuna_tuner.values import Launch, Model, Request, Slot, Status

PATIENCE_S = 60.0
MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
NOWHERE = Slot(name="slot-0", host="here")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


def local(**options: object) -> Local:
    return Local(Local.Options.model_validate(options))


def request(deployer: Local, source: str, *words: str, name: str = "server", slot: Slot = NOWHERE) -> Request:
    launch = Launch(argv=(sys.executable, "-c", source, "{host}", "{port}", *words), model=MODEL)
    return deployer.render(launch, name, {"attempt": name}, slot)


@contextmanager
def started(deployer: Local, wanted: Request, folder: Path) -> Iterator[Started]:
    server = Started(deployer, wanted, deployer.start(wanted, folder), {"attempt": wanted.name})
    try:
        yield server
    finally:
        deployer.stop(server.handle, 5)
        assert family(wanted.name) == []


@contextmanager
def worker(wanted: Request, folder: Path, code: str = START) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has started a server."""
    words = [f"{Local.__module__}:{Local.__name__}", "{}", json.dumps(asdict(wanted)), str(folder)]
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        try:
            yield process
        finally:
            process.kill()


def family(name: str) -> Sequence[Process]:
    return [process for process, env in environments(MARKER) if env[MARKER] == name]


def hidden(deployer: Local, name: str) -> Process:
    """The descendant that no mark, group or parent leads to."""
    pid = int(said(deployer, name, "orphan ").partition("orphan ")[2].split()[0])
    entry = poll(
        lambda: found if (found := look(pid)) and not Path(f"/proc/{pid}/environ").read_bytes() else None,
        Deadline.after(PATIENCE_S),
    )
    assert entry is not None
    return entry.process


def said(deployer: Local, name: str, text: str) -> str:
    """The log, as soon as a whole line with this text is in it."""
    (handle,) = deployer.find({"attempt": name})
    log = poll(
        lambda: log if "\n" in (log := deployer.log(handle)).partition(text)[2] else None, Deadline.after(PATIENCE_S)
    )
    assert log is not None
    return log


def seconds_until_gone(processes: Sequence[Process]) -> float:
    begin = time.monotonic()
    gone = poll(lambda: True if not any(map(lives, processes)) else None, Deadline.after(PATIENCE_S), 0.005)
    assert gone is not None
    return time.monotonic() - begin


@pytest.mark.parametrize("source", ["LEAVES_ORPHAN", "LEAVES_STUBBORN_ORPHAN", "STUBBORN"])
def test_nothing_outlives_a_killed_worker(tmp_path: Path, source: str) -> None:
    deployer = local()
    with worker(request(deployer, getattr(small_servers, source)), tmp_path) as process:
        said(deployer, "server", "hello")
        tree = [*family("server")]
        if "ORPHAN" in source:
            tree.append(hidden(deployer, "server"))
        assert len(tree) >= 2
        process.kill()
        assert seconds_until_gone(tree) < 10
    assert family("server") == []


def test_a_child_of_the_worker_that_inherits_its_pipe_does_not_keep_a_server_alive(tmp_path: Path) -> None:
    deployer = local()
    forked = START.replace("start_and_wait()", "start_and_wait(fork=True)")
    with worker(request(deployer, small_servers.ANSWERS), tmp_path, forked) as process:
        tree = family("server")
        process.kill()
        assert seconds_until_gone(tree) < 10


def test_a_worker_that_ends_by_itself_leaves_nothing(tmp_path: Path) -> None:
    deployer = local()
    with worker(request(deployer, small_servers.ANSWERS), tmp_path) as process:
        tree = family("server")
        process.terminate()
        assert seconds_until_gone(tree) < 10


def test_leftovers_of_a_killed_supervisor_are_found_and_ended(tmp_path: Path) -> None:
    deployer = local()
    with started(deployer, request(deployer, small_servers.LEAVES_STUBBORN_ORPHAN), tmp_path) as server:
        orphan = hidden(deployer, "server")
        folder = str(server.handle.ref["folder"])
        assert poll(lambda: orphan in seen(folder) or None, Deadline.after(PATIENCE_S)), "never recorded"
        os.kill(int(str(server.handle.ref["pid"])), signal.SIGKILL)
        server.wait_for(Status.LOST)
        assert lives(orphan)
        (handle,) = deployer.find({"attempt": "server"})
        deployer.stop(handle, 0.5)
        assert not lives(orphan)


def seen(folder: str) -> Sequence[Process]:
    record = read_record(folder)
    return record.seen if record else ()


def test_a_server_without_a_folder_is_found_by_its_mark(tmp_path: Path) -> None:
    deployer = local()
    with started(deployer, request(deployer, small_servers.ANSWERS), tmp_path) as server:
        server.wait_for_answer()
        folder = Path(str(server.handle.ref["folder"]))
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        (handle,) = deployer.find({"attempt": "server"})
        deployer.stop(handle, 5)
        assert family("server") == []


def test_a_flood_of_words_fills_no_disk_and_blocks_no_server(tmp_path: Path) -> None:
    deployer = local(max_log_mb=2)
    with started(deployer, request(deployer, small_servers.FLOODS, "300"), tmp_path) as server:
        server.wait_for_answer()
        log = server.wait_for_words("last line")
        kept = sum(path.stat().st_size for path in Path(str(server.handle.ref["folder"])).glob("server.log*"))
        assert kept <= 2 * MIB
        assert "hello from" in log[:1000]
        assert "was not kept" in log


def test_many_starts_at_once_get_a_port_each(tmp_path: Path) -> None:
    deployer = local(ports=(28000, 28040))
    wanted = [request(deployer, small_servers.SILENT, name=f"server-{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        handles = list(pool.map(lambda each: deployer.start(each, tmp_path), wanted))
    try:
        assert len({handle.ref["port"] for handle in handles}) == 20
        for each, handle in zip(wanted, handles, strict=True):
            Started(deployer, each, handle, {}).wait_for_words("listening")
    finally:
        for handle in handles:
            deployer.stop(handle, 5)


def test_a_port_that_a_stranger_holds_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", free_pair()))
        stranger.listen()
        taken = stranger.getsockname()[1]
        deployer = local(ports=(taken, taken + 1))
        with started(deployer, request(deployer, small_servers.SILENT), tmp_path) as server:
            assert server.handle.ref["port"] == taken + 1
            other = request(deployer, small_servers.SILENT, name="other")
            with pytest.raises(DeployerError, match=f"no port from {taken} to {taken + 1} is free"):
                deployer.start(other, tmp_path)


def free_pair() -> int:
    """A port outside the kernel's own for outgoing connections that is free together with the next."""
    for port in range(29500, 29900, 2):
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("127.0.0.1", port))
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    pytest.skip("no two free ports side by side")


def test_ports_of_outgoing_connections_are_refused(tmp_path: Path) -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    deployer = local(ports=(low, high))
    with pytest.raises(DeployerError, match="the kernel's own"):
        deployer.start(request(deployer, small_servers.SILENT), tmp_path)


def test_secrets_are_never_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-canary")
    source = "import os, signal; print(len(os.environ['HF_TOKEN']), flush=True); signal.pause()"
    launch = Launch(argv=(sys.executable, "-c", source), secrets={"HF_TOKEN": "MY_TOKEN"}, model=MODEL)
    deployer = local()
    wanted = deployer.render(launch, "server", {}, NOWHERE)
    assert "s3cr3t-canary" not in json.dumps(asdict(wanted))
    with started(deployer, wanted, tmp_path) as server:
        server.wait_for_words("13")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) >= 4
        assert [path for path in files if b"s3cr3t-canary" in path.read_bytes()] == []
        commands = [Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in family("server")]
        assert len(commands) == 2
        assert [command for command in commands if b"s3cr3t-canary" in command] == []
        assert "s3cr3t-canary" not in repr(server.handle)


def test_a_server_ends_after_its_longest_life(tmp_path: Path) -> None:
    deployer = local(max_life_s=0.5)
    with started(deployer, request(deployer, small_servers.ANSWERS), tmp_path) as server:
        assert "max_life_s" in server.wait_for(Status.LOST).detail
        assert seconds_until_gone(family("server")) < 30


def test_what_a_crashed_server_leaves_behind_is_ended_at_once(tmp_path: Path) -> None:
    deployer = local(grace_s=0.5)
    source = small_servers.LEAVES_STUBBORN_ORPHAN.replace(
        "\nserve()\n", "\nimport select; select.select([], [], [], 1); os._exit(3)\n"
    )
    with started(deployer, request(deployer, source), tmp_path) as server:
        orphan = hidden(deployer, "server")
        assert server.wait_for(Status.EXITED).exit_code == 3
        assert seconds_until_gone([orphan]) < 30
        assert "orphan" in server.log


def test_a_stop_that_came_first_wins_over_a_start() -> None:
    deployer = local()
    wanted = request(deployer, small_servers.ANSWERS)
    server = local_server.claim(wanted, local_server.Asked())
    deployer.stop(server.handle, 0)
    with pytest.raises(FileNotFoundError):
        supervise(server, read_body(wanted))
    assert family("server") == []


def test_a_device_is_free_when_the_last_process_on_it_is_gone(tmp_path: Path) -> None:
    deployer = local()
    slot = Slot(name="slot-0", host="here", gpus=("GPU-a",))
    with worker(request(deployer, small_servers.STUBBORN, slot=slot), tmp_path) as process:
        (handle,) = deployer.find({"attempt": "server"})
        Started(deployer, Request(deployer="local", name="server", body={}), handle, {}).wait_for_answer()
        tree = family("server")
        process.kill()
        with holding(slot):
            assert not any(map(lives, tree))
