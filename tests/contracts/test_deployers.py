import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from optuna_tuner import home
from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.supervision.processes import environments
from optuna_tuner.deployers.supervision.record import MARKER
from optuna_tuner.errors import DeployerError
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.deployer_cases import DeployerCases
from optuna_tuner.values import Handle, Launch, Model, Slot, Status

MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


class TestLocal(DeployerCases):
    deployer_class = Local
    options: ClassVar = {"ports": [21000, 28999]}
    slot: ClassVar = Slot(name="slot-0", host="here")

    def remains(self, name: str) -> Sequence[str]:
        folders = [str(folder) for folder in home.servers_folder().glob(f"*{name}*")]
        return [f"process {process.pid}" for process, env in environments(MARKER) if env[MARKER] == name] + folders

    def impossible(self) -> Mapping[str, Launch]:
        secret = {"TOKEN": "SECRET_THAT_IS_NOT_SET"}
        return {
            **super().impossible(),
            "is not executable": Launch(argv=(__file__,), model=MODEL),
            "NUL character": Launch(argv=("echo", "a\0b"), model=MODEL),
            "SECRET_THAT_IS_NOT_SET": Launch(argv=("echo",), secrets=secret, model=MODEL),
            "cannot be the name of": Launch(argv=("echo",), env={"A=B": "1"}, model=MODEL),
        }

    def test_a_working_folder_that_is_not_there_is_the_machines_fault(self, tmp_path: Path) -> None:
        local = self.deployer(cwd=str(tmp_path / "nowhere"))
        request = local.render(self.launch("pass"), "case-cwd", {}, self.slot)
        with pytest.raises(DeployerError, match=r"working folder .*nowhere does not exist"):
            local.start(request, tmp_path)
        assert self.remains("case-cwd") == []

    def test_cores_that_are_not_there_are_the_machines_fault(self, tmp_path: Path) -> None:
        request = self.deployer().render(
            self.launch("pass"), "case-cores", {}, Slot(name="s", host="here", cores=(4000,))
        )
        with pytest.raises(DeployerError, match=r"CPU cores .4000. are not all allowed"):
            self.deployer().start(request, tmp_path)
        assert self.remains("case-cores") == []

    def test_a_server_keeps_to_its_cores_and_its_own_surroundings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UNRELATED", "1")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
        source = "import os; print(sorted(os.sched_getaffinity(0)), sorted(os.environ.items()), flush=True)"
        slot = Slot(name="slot-0", host="here", cores=(0,), gpus=("GPU-a",))
        request = self.deployer().render(
            Launch(argv=(sys.executable, "-c", source), env={"MINE": "2"}, model=MODEL), "case-env", {}, slot
        )
        handle = self.deployer().start(request, tmp_path)
        try:
            state = self.deployer().state
            while state(handle).status is not Status.EXITED:
                assert state(handle).status in {Status.RUNNING, Status.EXITED}
            log = self.deployer().log(handle)
        finally:
            self.deployer().stop(handle, 1)
        assert log.startswith("[0] ")
        for text in ("('CUDA_VISIBLE_DEVICES', 'GPU-a')", "('MINE', '2')", "('SPT_NOENV', '1')", "('PATH', "):
            assert text in log
        assert "UNRELATED" not in log

    def test_a_device_carries_one_server(self, tmp_path: Path) -> None:
        slot = Slot(name="slot-0", host="here", gpus=("GPU-a",))
        first, second = (
            self.deployer().render(self.launch(small_servers.ANSWERS), name, {}, slot) for name in ("case-1", "case-2")
        )
        handle = self.deployer().start(first, tmp_path)
        try:
            with pytest.raises(DeployerError, match="still holds gpu-GPU-a"):
                self.deployer().start(second, tmp_path)
        finally:
            self.deployer().stop(handle, 1)
        self.deployer().stop(self.deployer().start(second, tmp_path), 1)

    def test_a_server_of_another_host_is_not_taken_for_gone(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            far = {**server.handle.ref, "host": "elsewhere", "boot_id": "another"}
            with pytest.raises(DeployerError, match="runs on elsewhere"):
                server.deployer.stop(Handle(deployer="local", name=server.handle.name, ref=far), 1)

    def test_a_restart_of_the_machine_leaves_nothing(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            before = dataclasses.replace(server.handle, ref={**server.handle.ref, "boot_id": "another"})
            assert server.deployer.state(before).status is Status.LOST
