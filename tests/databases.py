"""Real database servers for tests: Debian's own binaries in a temporary folder, or servers that the environment names.

`OPTUNA_TUNER_TEST_POSTGRESQL` and `OPTUNA_TUNER_TEST_MYSQL` hold the URL of a user who may create databases.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.store import urls

START_S = 90.0


class DatabaseServer(Protocol):
    """A running server."""

    def new_database(self) -> str:
        """The URL of an empty database of its own."""


class NamedServer:
    """A server that somebody else runs."""

    def __init__(self, url: str) -> None:
        self._url = urls.parse(url)

    def answers(self) -> bool:
        engine = create_engine(self._url)
        try:
            engine.connect().close()
        except OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    def new_database(self) -> str:
        name = f"tuner_test_{uuid4().hex}"
        engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url.set(database=name).render_as_string(hide_password=False)


class PostgresqlServer(NamedServer):
    """PostgreSQL in a folder of its own, on loopback."""

    def __init__(self, binaries: Path) -> None:
        self._binaries, self._folder, self._port = binaries, _folder("postgres"), _free_port()
        super().__init__(f"postgresql://tuner@127.0.0.1:{self._port}/postgres")
        self._run("initdb", "--no-sync", "--auth=trust", "--username=tuner", "--encoding=UTF8", "--pgdata=data")
        self.start()

    def start(self) -> None:
        # Without fsync: a killed server loses nothing that the operating system has, and the disk is shared.
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log", f"--options={options}")

    def kill(self) -> None:
        """End it as a crash does: connections are cut, nothing is flushed."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--pgdata=data")

    def freeze(self) -> None:
        """Let it stand still: connections stay open, and nobody answers. The postmaster first: it must not notice."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        postmaster = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, number)
        for pid in map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def port(self) -> int:
        return self._port

    def close(self) -> None:
        self.kill()
        # Its last children may still write.
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        with (self._folder / "output").open("ab") as output:
            command = [str(self._binaries / name), *arguments]
            code = _popen(command, self._folder, "postgres", output.fileno()).wait(START_S)
        assert code == 0, (self._folder / "output").read_text()


class MariadbServer(NamedServer):
    """MariaDB in a folder of its own, on loopback."""

    def __init__(self, binary: str, installer: str) -> None:
        self._folder, self.port = _folder("mysql"), _free_port()
        super().__init__(f"mysql://root@127.0.0.1:{self.port}/mysql")
        shared = ["--no-defaults", f"--datadir={self._folder}/data"]
        self._output = (self._folder / "output").open("ab")
        install = [installer, *shared, "--auth-root-authentication-method=normal", "--skip-test-db"]
        _popen(install, self._folder, "mysql", self._output.fileno()).wait(START_S)
        address = ["--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self._folder}/socket"]
        self._serve = [binary, *shared, *address]
        self.start()

    def start(self) -> None:
        self._process = _popen(self._serve, self._folder, "mysql", self._output.fileno())
        assert poll(lambda: self.answers() or None, Deadline.after(START_S)), (self._folder / "output").read_text()

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it stand still: connections stay open, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self._output.close()
        shutil.rmtree(self._folder)


def _popen(command: Sequence[str], folder: Path, user: str, output: int) -> subprocess.Popen[bytes]:
    # Database servers refuse to run as root.
    as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    return subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, **as_user)  # type: ignore[call-overload, no-any-return]


def _folder(user: str) -> Path:
    # Not pytest's own temporary folder: only root may enter that one.
    folder = Path(tempfile.mkdtemp(prefix="tuner-db-"))
    if os.getuid() == 0:
        shutil.chown(folder, user)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user_exists(name: str) -> bool:
    return os.getuid() != 0 or any(entry.pw_name == name for entry in pwd.getpwall())


@pytest.fixture(scope="session")
def own_postgresql() -> Iterator[PostgresqlServer]:
    """PostgreSQL that a test may kill and start again."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/none")]
    if not found[-1].exists() or not _user_exists("postgres"):
        pytest.skip("PostgreSQL's server is not installed (Debian: postgresql)")
    server = PostgresqlServer(found[-1].parent)
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> DatabaseServer:
    """Any PostgreSQL."""
    named = os.environ.get("OPTUNA_TUNER_TEST_POSTGRESQL")
    server: DatabaseServer = NamedServer(named) if named else request.getfixturevalue("own_postgresql")
    return server


@pytest.fixture(scope="session")
def mysql() -> Iterator[DatabaseServer]:
    """Any MySQL or MariaDB."""
    named = os.environ.get("OPTUNA_TUNER_TEST_MYSQL")
    if named:
        yield NamedServer(named)
        return
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    binary, installer = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    if not binary or not installer or not _user_exists("mysql"):
        pytest.skip("MariaDB's server is not installed (Debian: mariadb-server)")
    server = MariadbServer(binary, installer)
    yield server
    server.close()
