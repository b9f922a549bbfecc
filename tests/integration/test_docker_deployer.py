"""The deployer `docker` on a real daemon: its promises, and how it fails."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import ClassVar
from uuid import uuid4

import httpx
import pytest
from dockers import IMAGE, REPOSITORY, TAG, DockerDaemon, OwnDockerDaemon
from pydantic import JsonValue

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.docker import Docker
from optuna_tuner.deployers.docker_options import DockerOptions
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.deployer_cases import DeployerCases, Started
from optuna_tuner.values import Cause, Launch, Model, Slot, Status

MODEL = Model(name="small", path="small", tokenizer="small")
SLOT = Slot(name="slot-0", host="here")
GREEDY = "kept = [bytearray(8 << 20) for _ in range(64)]"
DIES_AFTER_CREATE = """
import os, signal, sys
from optuna_tuner.deployers.docker_daemon import Daemon
from optuna_tuner.testing.deployer_cases import start_and_wait
Daemon.start = lambda self, container: os.kill(os.getpid(), signal.SIGKILL)
start_and_wait()
"""


def launch_of(source: str, *words: str) -> Launch:
    return Launch(argv=(sys.executable, "-c", source, "{host}", "{port}", *words), image=IMAGE, model=MODEL)


class TestDocker(DeployerCases):
    deployer_class = Docker
    options: ClassVar[Mapping[str, JsonValue]] = {}
    daemon: ClassVar[DockerDaemon]

    @pytest.fixture(autouse=True)
    def on_the_daemon(self, docker_daemon: DockerDaemon) -> None:
        type(self).options, type(self).daemon = docker_daemon.options, docker_daemon

    def launch(self, source: str, *words: str) -> Launch:
        return launch_of(source, *words)

    def remains(self, name: str) -> Sequence[str]:
        return self.daemon.containers(name)

    def impossible(self) -> Mapping[str, Launch]:
        return {
            "no program no-such-command: engine.command": replace(launch_of(""), argv=("no-such-command", "{port}")),
            "No such image: no/such:image.*docker pull": replace(launch_of(""), image="no/such:image"),
            "bind source path does not exist": replace(
                launch_of(""), model=Model(name="m", path="/no/model", tokenizer="t")
            ),
            "SECRET_THAT_IS_NOT_SET": replace(launch_of(""), secrets={"TOKEN": "SECRET_THAT_IS_NOT_SET"}),
        }


@pytest.fixture(autouse=True)
def nothing_is_left(docker_daemon: DockerDaemon) -> Iterator[None]:
    yield
    assert docker_daemon.containers() == []


@pytest.fixture
def deployer(docker_daemon: DockerDaemon) -> Docker:
    return docker(docker_daemon)


def docker(daemon: DockerDaemon, **more: JsonValue) -> Docker:
    return Docker(DockerOptions.model_validate({**daemon.options, **more}))


@contextmanager
def started(deployer: Docker, folder: Path, launch: Launch, slot: Slot = SLOT) -> Iterator[Started]:
    name = f"case-{uuid4().hex[:12]}"
    labels = {"attempt": name}
    request = deployer.render(launch, name, labels, slot)
    handle = deployer.start(request, folder)
    try:
        yield Started(deployer, request, handle, labels)
    finally:
        deployer.stop(handle, 2)


def said(deployer: Docker, folder: Path, launch: Launch) -> str:
    """All that a program wrote until its end."""
    with started(deployer, folder, launch) as server:
        server.wait_for(Status.EXITED)
        return server.log


def test_a_server_that_takes_more_memory_than_it_may_is_known_as_that(
    docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    with started(docker(docker_daemon, memory="64m"), tmp_path, launch_of(GREEDY)) as server:
        state = server.wait_for(Status.EXITED)
    assert state.exit_code == 137
    assert state.diagnosis is not None
    assert state.diagnosis.cause is Cause.OUT_OF_MEMORY_RUNTIME
    assert "at its limit of 64 MiB" in state.diagnosis.evidence
    assert "deployer.memory" in state.diagnosis.exact_advice


def test_a_port_that_is_taken_is_the_machines_fault_and_leaves_no_container(
    docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        picky = docker(docker_daemon, ports=[port, port])
        with (
            pytest.raises(DeployerError) as caught,
            started(picky, tmp_path, launch_of(small_servers.ANSWERS)),
        ):
            pass
    assert caught.value.cause is Cause.PORT_IN_USE


def test_a_gpu_that_is_not_there_is_the_machines_fault_and_leaves_no_container(
    deployer: Docker, tmp_path: Path
) -> None:
    slot = Slot(name="gpu-0", host="here", gpus=("GPU-00000000-0000-0000-0000-000000000000",))
    with (
        pytest.raises(DeployerError, match="NVIDIA Container Toolkit") as caught,
        started(deployer, tmp_path, launch_of(small_servers.ANSWERS), slot),
    ):
        pass
    assert caught.value.cause is Cause.DEPLOYER_FAILED


def test_a_worker_that_dies_between_making_a_container_and_starting_it_leaves_one_that_is_found(
    deployer: Docker, docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    request = deployer.render(launch_of(small_servers.ANSWERS), "case-created", {"attempt": "1"}, SLOT)
    plugin = f"{Docker.__module__}:{Docker.__name__}"
    words = [plugin, json.dumps(dict(docker_daemon.options)), json.dumps(asdict(request)), str(tmp_path)]
    died = subprocess.run([sys.executable, "-c", DIES_AFTER_CREATE, *words], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    [handle] = deployer.find({"attempt": "1"})
    assert deployer.state(handle).status is Status.STARTING
    assert deployer.endpoint(handle) is None
    deployer.stop(handle, 0)


def test_a_handle_names_the_image_by_its_id_since_a_tag_may_name_another_one_tomorrow(
    deployer: Docker, docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    with started(deployer, tmp_path, launch_of(small_servers.ANSWERS)) as server, docker_daemon.client() as client:
        image = str(server.handle.ref["image"])
        assert image.startswith("sha256:")
        assert client.inspect_image(image)["Id"] == image  # type: ignore[no-untyped-call]


def test_a_container_that_somebody_stops_is_lost_and_says_nothing_about_its_flags(
    deployer: Docker, docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    with started(deployer, tmp_path, launch_of(small_servers.ANSWERS)) as server:
        server.wait_for_answer()
        with docker_daemon.client() as client:
            client.stop(server.request.name, timeout=5)
        assert server.state.status is Status.LOST
        assert server.state.detail == "somebody stopped the container"


def test_a_container_ends_itself_when_its_time_is_over(docker_daemon: DockerDaemon, tmp_path: Path) -> None:
    with started(docker(docker_daemon, max_life_s=1), tmp_path, launch_of(small_servers.ANSWERS)) as server:
        assert server.wait_for(Status.LOST).detail == "it ended itself after max_life_s"


def test_a_secret_reaches_the_server_and_nothing_else(
    deployer: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-7391")
    source = "import os; print(os.environ['HF_TOKEN'].replace('-', '+'), open('/proc/self/cmdline').read())"
    launch = replace(launch_of(source), secrets={"HF_TOKEN": "MY_TOKEN"})
    with started(deployer, tmp_path, launch) as server:
        server.wait_for(Status.EXITED)
        assert server.log.startswith("canary+7391 ")
        assert "canary-7391" not in json.dumps([asdict(server.request), asdict(server.handle)]) + server.log


def test_a_server_has_no_rights_that_it_does_not_need(deployer: Docker, tmp_path: Path) -> None:
    status = said(deployer, tmp_path, launch_of("print(open('/proc/self/status').read())"))
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_the_model_cannot_be_written_and_a_cache_lives_on(docker_daemon: DockerDaemon, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    model = Model(name="small", path=str(tmp_path), tokenizer=str(tmp_path))
    source = f"""
import os
print(open({str(tmp_path)!r} + "/weights").read(), os.statvfs("/dev/shm").f_blocks * 4096 >> 20, os.listdir("/kept"))
open("/kept/compiled", "w").close()
open({str(tmp_path)!r} + "/weights", "w")
"""
    volume = f"case-{uuid4().hex[:12]}"
    cached = docker(docker_daemon, caches={volume: "/kept"}, shm_size="96m")
    try:
        first, second = (said(cached, tmp_path, replace(launch_of(source), model=model)) for _ in range(2))
    finally:
        with docker_daemon.client() as client:
            client.remove_volume(volume)
    assert "w 96 []\n" in first
    assert "Read-only file system" in first
    assert "w 96 ['compiled']\n" in second


def test_a_flood_is_told_by_its_beginning_and_its_end(docker_daemon: DockerDaemon, tmp_path: Path) -> None:
    with started(docker(docker_daemon, max_log_mb=1), tmp_path, launch_of(small_servers.FLOODS, "3")) as server:
        server.wait_for_answer()
        log = server.log
    assert log.startswith("hello from ")
    assert "first line" in log
    assert "the middle of this log was not kept" in log
    assert log.endswith("last line\n")
    assert len(log) < 2 << 20


def test_a_missing_image_is_said_before_the_first_trial(deployer: Docker) -> None:
    deployer.prepare(launch_of(""))
    with pytest.raises(EnvironmentFaultError, match=r"has no image no/such:image: docker pull .*pull: missing"):
        deployer.prepare(replace(launch_of(""), image="no/such:image"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Address of a real registry, on loopback."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry to pull from (Debian: docker-registry)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(tmp_path)}}, "http": {"addr": address}}
    (tmp_path / "config.yml").write_text(json.dumps(config))
    with subprocess.Popen([program, "serve", tmp_path / "config.yml"], stderr=subprocess.DEVNULL) as server:
        try:
            assert poll(lambda: answers(f"http://{address}/v2/") or None, Deadline.after(30))
            yield address
        finally:
            server.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:
        return False


def test_a_missing_image_is_pulled_where_the_study_allows_it(
    docker_daemon: DockerDaemon, registry: str, caplog: pytest.LogCaptureFixture
) -> None:
    image = f"{registry}/python:1.2.3"
    with docker_daemon.client() as client:
        client.tag(IMAGE, f"{registry}/python", "1.2.3")
        client.push(f"{registry}/python", tag="1.2.3")
        client.remove_image(image)
        client.remove_image(IMAGE)  # else its layer is there already
    try:
        docker(docker_daemon, pull="missing").prepare(replace(launch_of(""), image=image))
        docker(docker_daemon).prepare(replace(launch_of(""), image=image))
        assert f"pulling {image}: 1 of 1 layers" in caplog.text
    finally:
        with docker_daemon.client() as client:
            client.tag(image, REPOSITORY, TAG)
            client.remove_image(image)


def test_an_image_that_no_registry_has_is_the_machines_fault(docker_daemon: DockerDaemon) -> None:
    pulling = docker(docker_daemon, pull="missing")
    with pytest.raises(EnvironmentFaultError, match=r"127\.0\.0\.1:9"):
        pulling.prepare(replace(launch_of(""), image="127.0.0.1:9/nothing:1"))


def test_a_daemon_that_is_away_is_the_machines_fault(tmp_path: Path) -> None:
    away = Docker(DockerOptions.model_validate({"host": f"unix://{tmp_path}/none.sock"}))
    with pytest.raises(DeployerError, match=r"none\.sock cannot be reached: .*No such file"):
        away.find({"attempt": "1"})
    with pytest.raises(EnvironmentFaultError, match="cannot be reached"):
        away.prepare(launch_of(""))


@contextmanager
def over_tcp(address: str) -> Iterator[str]:
    """The daemon of a local socket, for the length of a test."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as daemon:
                daemon.connect(address.removeprefix("unix://"))
                back = Thread(target=copy, args=(daemon, self.request))
                back.start()
                copy(self.request, daemon)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as server:
        Thread(target=server.serve_forever).start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_daemon_elsewhere_is_asked_from_any_machine(docker_daemon: DockerDaemon, tmp_path: Path) -> None:
    slot = Slot(name="cpu-4000", host="here", cores=(4000,))  # not a core of the daemon's machine
    with over_tcp(docker_daemon.address) as address:
        remote = docker(docker_daemon, host=address)
        assert not remote.host_bound
        with started(remote, tmp_path, launch_of(small_servers.ANSWERS), slot) as server:
            server.wait_for_answer()
            assert [handle.name for handle in remote.find(server.labels)] == [server.request.name]


def test_a_container_of_another_daemon_is_not_taken_for_gone(deployer: Docker, tmp_path: Path) -> None:
    with started(deployer, tmp_path, launch_of(small_servers.SILENT)) as server:
        far = replace(server.handle, ref={"container": "0" * 64, "daemon": "another"})
        for ask in (deployer.state, lambda handle: deployer.stop(handle, 1)):
            with pytest.raises(DeployerError, match="another Docker daemon"):
                ask(far)


def test_a_daemon_that_was_restarted_lost_its_servers(
    own_docker_daemon: OwnDockerDaemon, deployer: Docker, tmp_path: Path
) -> None:
    with started(deployer, tmp_path, launch_of(small_servers.ANSWERS)) as server:
        server.wait_for_answer()
        own_docker_daemon.end()
        with pytest.raises(DeployerError, match="cannot be reached"):
            assert server.state
        own_docker_daemon.start()
        assert server.state.status is Status.LOST
        assert server.state.detail == "the Docker daemon was restarted meanwhile"


def test_a_server_is_given_exactly_the_gpus_of_its_slot(
    own_docker_daemon: OwnDockerDaemon, deployer: Docker, tmp_path: Path
) -> None:
    hook = (
        tmp_path / "nvidia-container-runtime-hook"
    )  # with it the daemon believes in NVIDIA's toolkit; it does nothing
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    own_docker_daemon.end()
    own_docker_daemon.start(tmp_path)
    slot = Slot(name="gpu-1-3", host="here", gpus=("GPU-b", "GPU-d"))
    source = "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])"
    with started(deployer, tmp_path, launch_of(source), slot) as server:
        server.wait_for(Status.EXITED)
        assert server.log == "GPU-b,GPU-d\n"
