"""A real Docker daemon for tests: Debian's own binary in a temporary folder, or one that the environment names.

`OPTUNA_TUNER_TEST_DOCKER` holds the address of a daemon of this machine, which may be given images and containers.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from pydantic import JsonValue

from optuna_tuner.clock import Deadline, poll

if TYPE_CHECKING:
    import docker

START_S, END_S = 30.0, 60.0
REPOSITORY, TAG = "tuner-test/python", "1.2.3"
IMAGE = f"{REPOSITORY}:{TAG}"
ADD_BRIDGE, REMOVE_BRIDGE, SET_FLAGS = 0x89A0, 0x89A1, 0x8914  # of linux/sockios.h


class DockerDaemon:
    """A running daemon, with an image of this machine's Python."""

    def __init__(self, address: str) -> None:
        self.address = address

    def answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:  # the SDK leaves one open that finds nobody
                probe.connect(self.address.removeprefix("unix://"))
            with self.client() as client:
                return bool(client.ping())
        except (OSError, _sdk().errors.DockerException):  # those of requests are OSErrors
            return False

    def client(self) -> closing[docker.APIClient]:
        return closing(_sdk().APIClient(self.address, version="auto"))

    def furnish(self) -> None:
        """An image, which is nothing but links: all programs are this machine's own, mounted read-only."""
        with self.client() as client:
            client.import_image_from_data(links(), repository=REPOSITORY, tag=TAG)

    def clear(self) -> None:
        with self.client() as client:
            for each in client.containers(all=True, filters={"label": "optuna_tuner.model"}):
                client.remove_container(each["Id"], force=True, v=True)
            client.remove_image(IMAGE, force=True)

    @property
    def options(self) -> Mapping[str, JsonValue]:
        """What the deployer needs to start this machine's Python."""
        mounts: list[JsonValue] = [{"source": path, "target": path} for path in programs()]
        return {"host": self.address, "mounts": mounts, "caches": {}}

    def containers(self, name: str = "") -> Sequence[str]:
        """Containers of ours, whatever their state, in words."""
        with self.client() as client:
            found = client.containers(all=True, filters={"label": "optuna_tuner.model"})
        return [f"{each['Names'][0]} {each['Status']}" for each in found if name in each["Names"][0]]


class OwnDockerDaemon(DockerDaemon):
    """One that a test may end and start again. It touches no firewall rule, and its containers have no way out.

    Its bridge is its own: two daemons on `docker0` take each other's addresses, and one without a bridge removes it.
    """

    def __init__(self, program: str) -> None:
        self._program, self._folder = program, Path(tempfile.mkdtemp(prefix="tuner-docker-"))
        self._bridge = f"tuner-{os.getpid()}"
        with socket.socket() as control:
            fcntl.ioctl(control, ADD_BRIDGE, f"{self._bridge}\0".encode())
        super().__init__(f"unix://{self._folder}/docker.sock")
        self.start()

    def start(self, programs: Path | None = None) -> None:
        """With a folder of programs that it shall find before all others."""
        scratch = tempfile.mkdtemp(prefix="exec-", dir=self._folder)  # a killed one leaves a folder that none can use
        quiet = [f"--{name}=false" for name in ("iptables", "ip6tables", "ip-forward", "ip-masq")]
        folders = ["--data-root", f"{self._folder}/data", "--exec-root", scratch, "--pidfile", f"{scratch}/pid"]
        command = [self._program, "--host", self.address, *folders, *quiet, "--bridge", self._bridge]
        with (self._folder / "output").open("ab") as output:
            env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"} if programs else None
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, env=env)
        started = poll(lambda: self.answers() or self._process.poll() is not None or None, Deadline.after(START_S))
        if not (started and self.answers()):
            self._leave()
            raise OSError((self._folder / "output").read_text(errors="replace").strip().splitlines()[-1])

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(how)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        self.clear()
        self._leave()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _leave(self) -> None:
        self.end()
        with socket.socket() as control:
            fcntl.ioctl(control, SET_FLAGS, struct.pack("16sh22x", self._bridge.encode(), 0))  # down
            fcntl.ioctl(control, REMOVE_BRIDGE, f"{self._bridge}\0".encode())


def _sdk() -> ModuleType:
    sdk: ModuleType = pytest.importorskip("docker", reason="Docker's SDK is not installed: the extra docker")
    return sdk


def links() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("bin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(link)
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
    return packed.getvalue()


def programs() -> Sequence[str]:
    """Folders of this machine that its Python needs, and none twice."""
    wanted = ["/usr", sys.base_prefix, sys.prefix, str(Path(__file__).parents[1]), *filter(os.path.isdir, sys.path)]
    paths = sorted({os.path.realpath(path) for path in wanted})
    return [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]


@pytest.fixture(scope="session")
def docker_daemon() -> Iterator[DockerDaemon]:
    """Any daemon of this machine."""
    named = os.environ.get("OPTUNA_TUNER_TEST_DOCKER")
    if named:
        daemon = DockerDaemon(named)
        daemon.furnish()
        yield daemon
        daemon.clear()
        return
    own = own_daemon()
    yield own
    own.close()


@pytest.fixture
def own_docker_daemon(docker_daemon: DockerDaemon) -> OwnDockerDaemon:
    """One that a test may end and start again."""
    if not isinstance(docker_daemon, OwnDockerDaemon):
        pytest.skip("the Docker daemon that OPTUNA_TUNER_TEST_DOCKER names is not ours to end")
    return docker_daemon


def own_daemon() -> OwnDockerDaemon:
    program = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or os.getuid() != 0:
        pytest.skip("no Docker daemon can be started: Debian's docker.io and root are needed")
    try:
        daemon = OwnDockerDaemon(program)
    except OSError as error:
        pytest.skip(f"no Docker daemon can be started here: {error}")
    daemon.furnish()
    return daemon
