import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from socket import gethostname

import pytest

from optuna_tuner import home
from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.local_request import LocalOptions
from optuna_tuner.deployers.local_server import Asked, LocalServer, claim, find, mark_of, on_device
from optuna_tuner.deployers.supervision.processes import LEAST_MARK, Process
from optuna_tuner.deployers.supervision.record import Record, ask_to_stop, asked_grace_s, read_record, write_record
from optuna_tuner.deployers.supervisor import EXITED, OWNER_DIED, STOPPED, TOO_OLD
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Endpoint, Handle, Launch, Model, Request, Slot, Status

MODEL = Model(name="llama", path="/models/llama", tokenizer="/models/llama")
ASKED = Asked(model="llama")
NOBODY = Process(2**22 + 1, 1)  # above the highest pid that Linux gives


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path))


def request(name: str = "tuner-1") -> Request:
    return Local(LocalOptions()).render(
        Launch(argv=("serve",), model=MODEL), name, {"attempt": name, "study": "s"}, Slot(name="s", host="h")
    )


def recorded(record: Record) -> LocalServer:
    server = claim(request(), ASKED)
    write_record(server.folder, record)
    return server.refreshed()


def test_a_handle_survives_json() -> None:
    server = recorded(Record(NOBODY, 21000))
    assert LocalServer.of(Handle(**json.loads(json.dumps(asdict(server.handle))))) == server


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = Record(NOBODY, 21000, Process(5, 6), (Process(7, 8),), -9, EXITED, "killed by SIGKILL")
    write_record(str(tmp_path), record)
    assert read_record(str(tmp_path)) == record


def test_nothing_is_on_record_where_there_is_no_folder(tmp_path: Path) -> None:
    assert read_record(str(tmp_path / "nowhere")) is None


def test_the_wish_for_a_gentle_end_is_passed_on(tmp_path: Path) -> None:
    assert asked_grace_s(str(tmp_path)) is None
    ask_to_stop(str(tmp_path), 2.5)
    assert asked_grace_s(str(tmp_path)) == 2.5


@pytest.mark.parametrize("ref", [{}, {"host": "h", "boot_id": "b", "folder": "/", "port": "x", "pid": 1, "start": 1}])
def test_a_strangers_handle_is_refused(ref: dict[str, str | int]) -> None:
    with pytest.raises(DeployerError, match="no handle of the local deployer"):
        LocalServer.of(Handle(deployer="docker", name="x", ref=ref))


def test_a_server_of_another_host_is_out_of_reach() -> None:
    far = replace(recorded(Record(NOBODY, 21000)), host="elsewhere", boot_id="another")
    with pytest.raises(DeployerError, match="runs on elsewhere; it can only be seen and stopped there"):
        LocalServer.of(far.handle)


@pytest.mark.parametrize(
    ("record", "status", "detail"),
    [
        (Record(NOBODY, 21000, ended_by=EXITED, exit_code=3, detail="ended with exit code 3"), Status.EXITED, "code 3"),
        (Record(NOBODY, 21000, ended_by=STOPPED, exit_code=-15), Status.LOST, "stopped"),
        (Record(NOBODY, 21000, ended_by=OWNER_DIED), Status.LOST, "worker that started it died"),
        (Record(NOBODY, 21000, ended_by=TOO_OLD), Status.LOST, "max_life_s"),
        (Record(NOBODY, 21000), Status.LOST, "without a record"),
    ],
)
def test_only_a_server_that_ended_by_itself_has_exited(record: Record, status: Status, detail: str) -> None:
    state = Local(LocalOptions()).state(recorded(record).handle)
    assert (state.status, state.exit_code) == (status, record.exit_code)
    assert detail in state.detail


def test_an_endpoint_is_on_loopback() -> None:
    server = recorded(Record(NOBODY, 21000))
    assert Local(LocalOptions()).endpoint(server.handle) == Endpoint(url="http://127.0.0.1:21000", model="llama")


def test_an_endpoint_is_unknown_before_there_is_a_port() -> None:
    assert Local(LocalOptions()).endpoint(claim(request(), ASKED).handle) is None


def test_servers_are_found_by_all_of_their_labels() -> None:
    for name in ("tuner-1", "tuner-2"):
        claim(request(name), ASKED)
    assert {server.name for server in find({"study": "s"})} == {"tuner-1", "tuner-2"}
    assert [server.name for server in find({"study": "s", "attempt": "tuner-2"})] == ["tuner-2"]
    assert list(find({"study": "s", "attempt": "tuner-3"})) == []
    assert list(find({"study": "s", "worker": "w"})) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/tmp/a"])  # noqa: S108  must be refused
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(DeployerError, match="cannot be the name of a server"):
        claim(request(name), ASKED)


def test_an_ended_server_gives_its_name_to_the_next() -> None:
    recorded(Record(NOBODY, 21000, ended_by=EXITED, exit_code=1))
    assert claim(request(), ASKED).record() is None


def test_what_a_worker_of_this_host_left_half_made_is_removed_by_the_next_start() -> None:
    home.servers_folder().mkdir()
    half, foreign, living = (
        home.servers_folder() / f".tuner-0.{host}.{pid}"
        for host, pid in ((gethostname(), NOBODY.pid), ("elsewhere", NOBODY.pid), (gethostname(), os.getpid()))
    )
    for draft in (half, foreign, living):
        draft.mkdir()
    claim(request(), ASKED)
    assert [draft.exists() for draft in (half, foreign, living)] == [False, True, True]


@pytest.mark.parametrize("file", ["request.json", "state.json"])
def test_a_file_that_a_power_cut_emptied_harms_no_other_server(file: str) -> None:
    broken = recorded(Record(NOBODY, 21000))
    Path(broken.folder, file).write_bytes(b"")
    whole = claim(request("tuner-2"), ASKED)
    Path(whole.folder).parent.joinpath("a stray file").touch()
    assert [server.name for server in find({"attempt": "tuner-2"})] == ["tuner-2"]
    assert len(list(find({"study": "s"}))) == (1 if file == "request.json" else 2)


def test_a_mark_is_the_attempts_own_and_no_small_number() -> None:
    assert mark_of("a", {"attempt": "1"}) == mark_of("b", {"attempt": "1"}) != mark_of("a", {"attempt": "2"})
    assert mark_of("a", {}) != mark_of("b", {})
    assert LEAST_MARK <= mark_of("a", {}) < 2**63 - 1


def test_a_handle_without_a_mark_is_read() -> None:
    handle = recorded(Record(NOBODY, 21000)).handle
    old = replace(handle, ref={name: value for name, value in handle.ref.items() if name != "mark"})
    assert LocalServer.of(old).mark == 0


def test_servers_are_found_by_their_device_on_their_own_host_only() -> None:
    slot = Slot(name="s", host="h", gpus=("GPU-a", "GPU-b"))
    wanted = Local(LocalOptions()).render(Launch(argv=("serve",), model=MODEL), "tuner-1", {}, slot)
    server = claim(wanted, Asked(devices=slot.devices))
    assert [found.name for found in on_device("gpu-GPU-b")] == ["tuner-1"]
    assert list(on_device("gpu-GPU-c")) == []
    note = Path(server.folder, "request.json")
    note.write_text(json.dumps({**json.loads(note.read_text("utf-8")), "host": "elsewhere"}), encoding="utf-8")
    assert list(on_device("gpu-GPU-b")) == []
    assert "tuner-1" not in [found.name for found in find({})]
