"""GPUs under real servers and workers that die: none is leased twice, and none is free before its memory is back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import fake_gpus
import pytest
from fake_gpus import Host

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.supervision.processes import look
from optuna_tuner.deployers.supervision.record import read_record
from optuna_tuner.errors import ConflictError, DeployerError, EnvironmentFaultError
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.deployer_cases import START
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.nvml import session
from optuna_tuner.tuning.slots import holding
from optuna_tuner.values import Launch, Model, Request, Slot, Status

PATIENCE_S = 60.0
GPU = "GPU-fake-0"
SLOT = Slot(name="gpu-0", host="here", gpus=(GPU,))
MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
# The server leaves a grandchild in a session of its own, with an empty environment. It takes the GPU and listens to
# nothing; the server itself does not touch the GPU.
HIDES_ON_GPU = small_servers.LEAVES_STUBBORN_ORPHAN.replace(
    "signal.pause()",
    "import fcntl, os; fd = os.open(GPU, os.O_RDWR); fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB); "
    "open(READY, 'w').close(); signal.pause()",
)
HOLD = (
    "import sys; from optuna_tuner.tuning.slots import holding; from optuna_tuner.store.codec import decode_slot\n"
    "with holding(decode_slot(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))
    yield fake_gpus.host(tmp_path / "gpus", monkeypatch)
    for handle in local().find({"attempt": "server"}):  # where a test has failed
        local().stop(handle, 0)


def local(**options: object) -> Local:
    return Local(Local.Options.model_validate(options))


def request(source: str, name: str = "server") -> Request:
    launch = Launch(argv=(sys.executable, "-c", source, "{host}", "{port}"), model=MODEL)
    return local().render(launch, f"tuner-{name}", {"attempt": name, "study": "s"}, SLOT)


@contextmanager
def worker(source: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the slot and has started a server on it."""
    words = [f"{Local.__module__}:{Local.__name__}", "{}", json.dumps(asdict(request(source))), str(tmp_path)]
    code = (
        "import sys; from optuna_tuner.tuning.slots import holding; from optuna_tuner.values import Slot\n"
        f"with holding(Slot(name='gpu-0', host='here', gpus=({GPU!r},))):\n    " + START
    )
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        try:
            yield process
        finally:
            process.kill()


def users() -> tuple[int, ...]:
    """Who uses the GPU, as NVML tells."""
    with session() as nvml:
        assert nvml is not None
        return nvml.look(GPU).pids


def hiding(host: Host, tmp_path: Path) -> tuple[str, Path]:
    ready = tmp_path / "ready"
    places = f"GPU = {str(host.folder / GPU)!r}; READY = {str(ready)!r};"
    return HIDES_ON_GPU.replace("import signal; signal.signal", f"{places} import signal; signal.signal"), ready


def hidden(ready: Path) -> int:
    """The grandchild's pid, as soon as it uses the GPU; none of the nets but its mark leads to it."""
    assert poll(lambda: ready.exists() or None, Deadline.after(PATIENCE_S))
    (pid,) = users()
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    return pid


def kill_both(process: subprocess.Popen[bytes]) -> None:
    """Worker and supervisor, at one moment: stopped first, so that neither sees the other's end."""
    (handle,) = local().find({"attempt": "server"})
    supervisor = int(str(handle.ref["pid"]))
    for pid in (process.pid, supervisor):
        os.kill(pid, signal.SIGSTOP)
    for pid in (process.pid, supervisor):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert poll(lambda: None if supervisor_lives(handle.ref) else True, Deadline.after(PATIENCE_S))


def supervisor_lives(ref: object) -> bool:
    assert isinstance(ref, dict)
    entry = look(int(str(ref["pid"])))
    return entry is not None and entry.process.start == int(str(ref["start"])) and not entry.dead


def test_what_both_killed_left_on_a_gpu_is_ended_by_the_next_who_takes_it(host: Host, tmp_path: Path) -> None:
    source, ready = hiding(host, tmp_path)
    with worker(source, tmp_path) as process:
        pid = hidden(ready)
        kill_both(process)
        assert users() == (pid,)
        with holding(SLOT):
            assert users() == ()
            assert (entry := look(pid)) is None or entry.dead
    assert gpus.quarantined() == {}
    assert list(local().find({"attempt": "server"})) == []


@pytest.mark.parametrize("folder_is_gone", [False, True])
def test_what_both_killed_left_is_found_by_its_attempt_and_ended(
    host: Host, tmp_path: Path, *, folder_is_gone: bool
) -> None:
    source, ready = hiding(host, tmp_path)
    with worker(source, tmp_path) as process:
        pid = hidden(ready)
        kill_both(process)
        if folder_is_gone:
            shutil.rmtree(home.servers_folder())
        (handle,) = local().find({"attempt": "server"})
        assert users() == (pid,)
        local().stop(handle, 0)
        assert users() == ()
        assert list(local().find({"attempt": "server"})) == []


def test_a_device_stays_locked_while_an_heir_of_a_killed_supervisor_lives(host: Host, tmp_path: Path) -> None:
    source, ready = hiding(host, tmp_path)
    with worker(source, tmp_path) as process:
        hidden(ready)
        kill_both(process)
        other = local().render(
            Launch(argv=(sys.executable, "-c", small_servers.ANSWERS), model=MODEL), "other", {"attempt": "other"}, SLOT
        )
        with pytest.raises(DeployerError, match=f"another server on this host still holds gpu-{GPU}"):
            local().start(other, tmp_path)
        for handle in local().find({"attempt": "server"}):
            local().stop(handle, 0)
    assert host.uuids


def test_a_stop_ends_what_a_killed_supervisor_never_saw(host: Host, tmp_path: Path) -> None:
    source, ready = hiding(host, tmp_path)
    deployer = local()
    handle = deployer.start(request(source), tmp_path)
    os.kill(int(str(handle.ref["pid"])), signal.SIGSTOP)  # from its first moment on it sees nothing
    pid = hidden(ready)
    found = read_record(str(handle.ref["folder"]))
    assert found is not None
    assert pid not in {process.pid for process in found.seen}
    os.kill(int(str(handle.ref["pid"])), signal.SIGKILL)
    deployer.stop(handle, 0)
    assert users() == ()


def test_a_supervisor_that_somebody_stopped_still_ends_its_server(host: Host, tmp_path: Path) -> None:
    deployer = local()
    handle = deployer.start(request(small_servers.ANSWERS), tmp_path)
    os.kill(int(str(handle.ref["pid"])), signal.SIGSTOP)
    began = Deadline.after(10)
    deployer.stop(handle, 5)
    assert not began.passed
    assert deployer.state(handle).status is Status.LOST
    assert host.uuids


def test_a_stopped_worker_keeps_its_gpu_and_a_killed_one_gives_it_back(host: Host) -> None:
    argv = [sys.executable, "-c", HOLD, json.dumps(asdict(SLOT))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(ConflictError, match=f"held by process {process.pid} as slot gpu-0"), holding(SLOT):
            pytest.fail("leased twice")
        process.kill()
        process.wait()
        with holding(SLOT):
            pass
    assert host.uuids


def test_a_stopped_supervisor_of_a_killed_worker_does_not_keep_its_gpu(host: Host, tmp_path: Path) -> None:
    source, ready = hiding(host, tmp_path)
    with worker(source, tmp_path) as process:
        hidden(ready)
        (handle,) = local().find({"attempt": "server"})
        os.kill(int(str(handle.ref["pid"])), signal.SIGSTOP)
        process.kill()
        process.wait()
        with holding(SLOT):
            assert users() == ()
        assert not supervisor_lives(handle.ref)


def test_a_server_of_a_living_worker_is_left_alone(host: Host, tmp_path: Path) -> None:
    source, ready = hiding(host, tmp_path)
    with worker(source, tmp_path):
        pid = hidden(ready)
        with pytest.raises(ConflictError, match="is held by process"), holding(SLOT):
            pytest.fail("leased twice")
        assert users() == (pid,)
        for handle in local().find({"attempt": "server"}):
            local().stop(handle, 0)


def test_a_folder_of_another_host_in_a_shared_home_is_left_alone(host: Host, tmp_path: Path) -> None:
    handle = local().start(request(small_servers.ANSWERS), tmp_path)
    note = Path(str(handle.ref["folder"]), "request.json")
    said = json.loads(note.read_text(encoding="utf-8"))
    note.write_text(json.dumps({**said, "host": "elsewhere"}), encoding="utf-8")
    try:
        assert [found.ref["folder"] for found in local().find({"study": "s"})] == [handle.ref["folder"]]  # by its mark
        with pytest.raises(ConflictError, match="a server still runs"), holding(SLOT, wait_s=0):
            pytest.fail("leased twice")
        assert note.exists()
    finally:
        local().stop(handle, 0)
    assert host.uuids


def test_a_full_gpu_does_not_hide_behind_a_dead_worker(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "BACK_S", 1.0)
    with worker(small_servers.ANSWERS, tmp_path) as process:
        host.ill(GPU, "stuck")
        process.kill()
        process.wait()
        with pytest.raises(EnvironmentFaultError, match=f"{GPU} is in quarantine"), holding(SLOT):
            pytest.fail("a full GPU was taken")
