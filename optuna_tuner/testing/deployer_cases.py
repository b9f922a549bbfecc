# ruff: noqa: D102, S101  these are pytest cases: a name is the promise, an assertion the check
"""What every deployer must keep: subclass `DeployerCases`, name the deployer, say what is left, run pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import httpx
import pytest
from pydantic import JsonValue, ValidationError

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.errors import DeployerError
from optuna_tuner.testing import small_servers
from optuna_tuner.values import Blame, Handle, Launch, Model, Request, Slot, State, Status

_PATIENCE_S = 60.0  # for things that take a moment; a loaded machine may need many
_GRACE_S = 5.0
_ORPHAN_S = 15.0  # a child holds what it inherited for so long after its worker died
_MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
_STOP = "from optuna_tuner.testing.deployer_cases import stop_elsewhere; stop_elsewhere()"
START = "from optuna_tuner.testing.deployer_cases import start_and_wait; start_and_wait()"


@dataclass(frozen=True, slots=True)
class Started:
    """A server of a case."""

    deployer: Deployer
    request: Request
    handle: Handle
    labels: Mapping[str, str]

    @property
    def state(self) -> State:
        """What the deployer knows."""
        return self.deployer.state(self.handle)

    @property
    def log(self) -> str:
        """What it wrote."""
        return self.deployer.log(self.handle)

    def wait_for(self, status: Status) -> State:
        """Wait until the deployer says so."""
        found = poll(lambda: self.state if self.state.status is status else None, Deadline.after(_PATIENCE_S), 0.02)
        assert found is not None, f"never {status}: {self.state}; log: {self.log}"
        return found

    def wait_for_words(self, text: str) -> str:
        """Wait until the log says so."""
        found = poll(lambda: self.log if text in self.log else None, Deadline.after(_PATIENCE_S), 0.02)
        assert found is not None, f'"{text}" never came into the log: {self.log}'
        return found

    def wait_for_answer(self) -> str:
        """Wait until it answers; returns its URL."""
        found = poll(self._answers, Deadline.after(_PATIENCE_S), 0.05)
        assert found is not None, f"it never answered: {self.state}; log: {self.log}"
        return found

    def _answers(self) -> str | None:
        endpoint = self.deployer.endpoint(self.handle)
        try:
            return endpoint.url if endpoint and httpx.get(f"{endpoint.url}/health", timeout=5).is_success else None
        except httpx.HTTPError:
            return None


class DeployerCases(ABC):
    """The promises of `optuna_tuner.contracts.Deployer`, as pytest cases against the real thing.

    Attributes:
        deployer_class: the plugin.
        options: options that are enough to make one.
        python: the interpreter where servers run.
        killed: exit codes that mean "killed by SIGKILL".
        seen_s: seconds after which an exit is seen at the latest.

    """

    deployer_class: ClassVar[type[Deployer]]
    options: ClassVar[Mapping[str, JsonValue]] = {}
    python: ClassVar[str] = sys.executable
    killed: ClassVar[frozenset[int]] = frozenset({-9, 137})
    seen_s: ClassVar[float] = 2.0
    slot: ClassVar[Slot] = Slot(name="slot-0", host="here")

    @abstractmethod
    def remains(self, name: str) -> Sequence[str]:
        """All that is left of a server of this name, in words: processes, containers, objects, jobs."""

    def impossible(self) -> Mapping[str, Launch]:
        """Launches that cannot be started at all, by a part of the complaint: at least a command that is not there."""
        return {"no-such-command": Launch(argv=("no-such-command", "{port}"), model=_MODEL)}

    def deployer(self, **more: JsonValue) -> Deployer:
        """A new deployer with the options, and more of them."""
        return self.deployer_class(self.deployer_class.Options.model_validate({**self.options, **more}))

    def launch(self, source: str, *words: str) -> Launch:
        """A launch that runs this source."""
        return Launch(argv=(self.python, "-c", source, "{host}", "{port}", *words), model=_MODEL)

    def request(self, launch: Launch) -> tuple[Request, Mapping[str, str]]:
        """A request of a name of its own, and its labels."""
        name = f"case-{uuid4().hex[:12]}"
        labels = {"attempt": name, "study": "cases"}
        return self.deployer().render(launch, name, labels, self.slot), labels

    @contextmanager
    def started(self, folder: Path, source: str, *words: str) -> Iterator[Started]:
        """A server that is stopped in the end; then nothing is left."""
        request, labels = self.request(self.launch(source, *words))
        deployer = self.deployer()
        handle = deployer.start(request, folder)
        try:
            yield Started(deployer, request, handle, labels)
        finally:
            deployer.stop(handle, _GRACE_S)
            assert self.remains(request.name) == []
            assert list(deployer.find(labels)) == []

    def test_a_plugin_says_what_it_is(self) -> None:
        assert self.deployer_class.kind
        assert self.deployer_class.summary

    def test_options_are_frozen_and_described(self) -> None:
        options = self.deployer_class.Options
        assert options.model_config.get("frozen") is True
        assert all(field.description for field in options.model_fields.values())

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="no_such_option"):
            self.deployer(no_such_option=1)

    def test_a_request_is_pure_and_printable(self) -> None:
        launch = self.launch(small_servers.ANSWERS)
        first, second = (self.deployer().render(launch, "case", {"study": "cases"}, self.slot) for _ in range(2))
        assert first == second
        assert json.loads(json.dumps(asdict(first))) == asdict(first)
        assert (first.name, first.deployer) == ("case", self.deployer_class.kind)

    def test_a_server_answers_until_it_is_stopped(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            url = server.wait_for_answer()
            assert server.state.status is Status.RUNNING
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{url}/health", timeout=5)

    def test_a_start_does_not_wait_for_the_server(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.SILENT) as server:
            server.wait_for_words("listening")
            assert server.state.status is Status.RUNNING

    def test_an_exit_while_loading_is_seen_soon(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.EXITS_3) as server:
            state = server.wait_for(Status.EXITED)
            seen = time.time()
            assert state.exit_code == 3  # noqa: PLR2004  the server's own
            assert "cannot load" in server.log
            assert seen - float(server.log.split()[-1]) < self.seen_s

    def test_a_death_under_load_is_seen(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            url = server.wait_for_answer()
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"{url}/die", timeout=5)
            assert server.wait_for(Status.EXITED).exit_code == 7  # noqa: PLR2004  the server's own

    def test_a_killed_server_has_exited(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.KILLED) as server:
            assert server.wait_for(Status.EXITED).exit_code in self.killed
            assert "about to die" in server.log

    def test_what_cannot_be_started_is_the_machines_fault(self, tmp_path: Path) -> None:
        for complaint, launch in self.impossible().items():
            request, labels = self.request(launch)
            with pytest.raises(DeployerError, match=complaint) as caught:
                self.deployer().start(request, tmp_path)
            assert caught.value.cause.blame is Blame.MACHINE
            assert self.remains(request.name) == []
            assert list(self.deployer().find(labels)) == []

    def test_a_name_is_taken_while_its_server_lives(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            with pytest.raises(DeployerError, match=server.request.name):
                self.deployer().start(server.request, tmp_path)
            server.wait_for_answer()

    def test_stopping_what_is_gone_is_fine(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            server.deployer.stop(server.handle, _GRACE_S)
            server.deployer.stop(server.handle, 0)
            assert server.state.status in {Status.EXITED, Status.LOST}

    def test_a_server_that_does_not_listen_to_reason_is_killed(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.STUBBORN) as server:
            server.wait_for_answer()
            server.deployer.stop(server.handle, 0.5)
            assert self.remains(server.request.name) == []

    def test_a_hidden_descendant_ends_with_its_server(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.LEAVES_ORPHAN) as server:
            server.wait_for_words("orphan")

    def test_another_process_can_stop_it_by_its_handle(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            server.wait_for_answer()
            words = [_plugin(self.deployer_class), json.dumps(dict(self.options)), json.dumps(asdict(server.handle))]
            subprocess.run([sys.executable, "-c", _STOP, *words], check=True, timeout=_PATIENCE_S)  # noqa: S603  ours
            assert self.remains(server.request.name) == []
            assert server.state.status in {Status.EXITED, Status.LOST}

    def test_labels_find_it_and_nothing_else(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as one, self.started(tmp_path, small_servers.ANSWERS) as two:
            assert [handle.name for handle in one.deployer.find(one.labels)] == [one.request.name]
            both = {handle.name for handle in self.deployer().find({"study": "cases"})}
            assert both >= {one.request.name, two.request.name}
            assert list(self.deployer().find({"study": "cases", "attempt": "another"})) == []

    def test_what_a_killed_worker_started_is_found_and_ended(self, tmp_path: Path) -> None:
        request, labels = self.request(self.launch(small_servers.LEAVES_ORPHAN))
        words = [_plugin(self.deployer_class), json.dumps(dict(self.options)), json.dumps(asdict(request))]
        argv = [sys.executable, "-c", START, *words, str(tmp_path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as worker:  # noqa: S603  ours
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"started\n"
            worker.kill()
        for handle in self.deployer().find(labels):
            self.deployer().stop(handle, _GRACE_S)
        assert self.remains(request.name) == []
        assert list(self.deployer().find(labels)) == []

    def test_a_log_can_be_followed_from_its_first_line(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.TALKS) as server:
            server.wait_for_words("line 5\n")
            assert server.wait_for_words("line 15\n").startswith("line 0\nline 1\n")


def _plugin(kind: type[Deployer]) -> str:
    return f"{kind.__module__}:{kind.__name__}"


def _loaded(plugin: str, options: str) -> Deployer:
    module, _, name = plugin.partition(":")
    kind: type[Deployer] = getattr(__import__(module, fromlist=[name]), name)
    return kind(kind.Options.model_validate_json(options))


def stop_elsewhere() -> None:
    """What another process does: load a deployer and a handle, and stop."""
    plugin, options, handle = sys.argv[1:]
    _loaded(plugin, options).stop(Handle(**json.loads(handle)), _GRACE_S)


def start_and_wait(*, fork: bool = False) -> None:
    """What a worker does until it is killed: start a server, and say so. A forked child lives on beside it."""
    plugin, options, request, folder = sys.argv[1:]
    _loaded(plugin, options).start(Request(**json.loads(request)), Path(folder))
    parent = os.getpid()
    if fork and os.fork() == 0:
        poll(lambda: None if os.getppid() == parent else True, Deadline.after(3600))
        poll(lambda: None, Deadline.after(_ORPHAN_S))
        os._exit(0)
    sys.stdout.write("started\n")
    sys.stdout.flush()
    poll(lambda: None, Deadline.after(3600))
