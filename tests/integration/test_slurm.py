"""The promises of a deployer, kept by jobs of a real cluster of two nodes with GPUs that are copies of /dev/null."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from slurm_cluster import SlurmCluster

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers.slurm import Slurm
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.deployer_cases import DeployerCases
from optuna_tuner.values import Cause, Handle, Launch, Model, State, Status

MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def own_home(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    TestSlurm.cluster = slurm
    TestSlurm.options = {"folder": str(slurm.folder / "servers"), "address": "127.0.0.1", "poll_s": 1, "mem": "200M"}
    monkeypatch.setenv(home.HOME_VARIABLE, str(slurm.folder / "home"))


class TestSlurm(DeployerCases):
    deployer_class = Slurm
    not_found: ClassVar[str] = "command not found: no-such-command"
    seen_s: ClassVar[float] = 8.0  # Slurm itself takes a second or two to clean up, and is asked once a second
    cluster: ClassVar[SlurmCluster]

    def remains(self, name: str) -> Sequence[str]:
        files = [str(path) for path in self.cluster.folder.glob(f"servers/{name}*")]
        processes = [f"process {each.pid}" for each in self.cluster.processes(name)]
        return [f"job {job}" for job in self.cluster.queue() if job == name] + processes + files

    def seen(self, deployer: Deployer, handle: Handle, status: Status) -> State:
        """Wait until the deployer says so."""

        def look() -> State | None:
            state = deployer.state(handle)
            return state if state.status is status else None

        found = poll(look, Deadline.after(PATIENCE_S))
        assert found is not None, f"never {status}: {deployer.state(handle)}; log: {deployer.log(handle)}"
        return found

    def impossible(self) -> Mapping[str, Launch]:
        """A command that is not there is known only on the node: see below."""
        secret = {"TOKEN": "SECRET_THAT_IS_NOT_SET"}
        return {"SECRET_THAT_IS_NOT_SET": Launch(argv=("echo",), secrets=secret, model=MODEL)}

    @pytest.mark.parametrize(
        ("wrong", "complaint"),
        [
            ({"partition": "nope"}, "invalid partition specified: nope"),
            ({"gres": "gpu:h100:5"}, "Requested node configuration is not available"),
            ({"gres": "license:1"}, "Invalid generic resource"),
            ({"constraint": "nope"}, "Invalid feature specification"),
            ({"nodelist": "n9"}, "Invalid node name specified"),
            ({"commands": "/nowhere"}, "/nowhere/sbatch is not on this machine"),
        ],
    )
    def test_what_slurm_refuses_is_known_before_and_is_the_machines_fault(
        self, tmp_path: Path, wrong: Mapping[str, str], complaint: str
    ) -> None:
        deployer = self.deployer(**wrong)
        launch = self.launch(small_servers.ANSWERS)
        with pytest.raises(EnvironmentFaultError, match=complaint):
            deployer.prepare(launch)
        request = deployer.render(launch, "case-refused", {"study": "cases"}, self.slot)
        with pytest.raises(DeployerError, match=complaint):
            deployer.start(request, tmp_path)
        assert self.remains("case-refused") == []

    def test_what_slurm_would_take_is_not_started_by_asking(self) -> None:
        self.deployer().prepare(self.launch(small_servers.ANSWERS))
        assert self.cluster.queue() == []

    def test_a_command_that_is_not_on_the_node_is_the_machines_fault(self, tmp_path: Path) -> None:
        request, _ = self.request(Launch(argv=("no-such-command", "{port}"), model=MODEL))
        deployer = self.deployer()
        handle = deployer.start(request, tmp_path)
        try:
            state = self.seen(deployer, handle, Status.LOST)
            assert self.not_found in state.detail
        finally:
            deployer.stop(handle, 0)

    def test_a_job_that_can_never_begin_is_told_at_once(self, tmp_path: Path) -> None:
        deployer = self.deployer(partition="short", time="60")
        request = deployer.render(self.launch(small_servers.ANSWERS), "case-never", {"study": "cases"}, self.slot)
        handle = deployer.start(request, tmp_path)
        try:
            with pytest.raises(DeployerError, match="will never begin: PartitionTimeLimit"):
                self.seen(deployer, handle, Status.RUNNING)
        finally:
            deployer.stop(handle, 0)
        assert self.remains("case-never") == []

    def test_jobs_wait_for_gpus_that_others_have(self, tmp_path: Path) -> None:
        deployer = self.deployer(gpus_per_node="h100:4", nodelist=self.cluster.nodes[0])
        launch = self.launch(
            "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n" + small_servers.SILENT
        )
        first, second = (deployer.render(launch, f"case-gpus-{each}", {}, self.slot) for each in (1, 2))
        one, two = deployer.start(first, tmp_path), deployer.start(second, tmp_path)
        try:
            self.seen(deployer, one, Status.RUNNING)
            assert poll(lambda: True if deployer.log(one).startswith("0,1,2,3\n") else None, Deadline.after(PATIENCE_S))
            assert deployer.state(two).status is Status.QUEUED
            deployer.stop(one, 1)
            self.seen(deployer, two, Status.RUNNING)
        finally:
            for handle in (one, two):
                deployer.stop(handle, 0)

    def test_a_job_that_somebody_cancels_is_lost(self, tmp_path: Path) -> None:
        with self.started(tmp_path, small_servers.ANSWERS) as server:
            server.wait_for_answer()
            self.cluster.run("scancel", str(server.handle.ref["job"]))
            assert "somebody cancelled it" in server.wait_for(Status.LOST).detail

    def test_a_server_out_of_memory_has_exited_and_its_log_says_why(self, tmp_path: Path) -> None:
        if not self.cluster.has_cgroups:
            pytest.skip("without cgroups nobody bounds the memory of a job")
        with self.started(tmp_path, "held = bytearray(b'x') * (600 << 20); print('held it')") as server:
            diagnosis = server.wait_for(Status.EXITED).diagnosis
            assert diagnosis is not None
            assert (diagnosis.cause, "deployer.mem" in diagnosis.exact_advice) == (Cause.OUT_OF_MEMORY_RUNTIME, True)
            assert "oom" in server.log.lower()
            assert "held it" not in server.log

    def test_a_hidden_descendant_ends_with_its_server(self, tmp_path: Path) -> None:
        """Where the cluster tracks jobs by cgroups, as it is documented."""
        with self.started(tmp_path, small_servers.LEAVES_ORPHAN) as server:
            orphan = int(server.wait_for_words("orphan ").split("orphan ")[1].split()[0])
            assert Path(f"/proc/{orphan}").exists()
        if not self.cluster.has_cgroups:
            os.kill(orphan, signal.SIGKILL)
            pytest.skip("without cgroups a hidden descendant outlives its job")
        assert not Path(f"/proc/{orphan}").exists()

    def test_a_job_whose_ticket_is_gone_does_not_begin(self, tmp_path: Path) -> None:
        """A worker that is killed while it submits: whoever ends its server may look before Slurm has the job."""
        deployer = self.deployer(nodelist=self.cluster.nodes[0], gpus_per_node="4")
        blocker = deployer.start(
            deployer.render(self.launch(small_servers.SILENT), "case-first", {}, self.slot), tmp_path
        )
        request = deployer.render(self.launch(small_servers.ANSWERS), "case-late", {"study": "late"}, self.slot)
        late = deployer.start(request, tmp_path)
        for path in self.cluster.folder.glob("servers/case-late.ticket"):
            path.unlink()
        deployer.stop(blocker, 0)
        state = self.seen(deployer, late, Status.LOST)
        deployer.stop(late, 0)
        assert "nobody wants this server any more" in state.detail

    def test_a_node_that_goes_down_is_the_machines_fault_and_its_ghost_ends(self, tmp_path: Path) -> None:
        node = self.cluster.nodes[1]
        deployer = self.deployer(nodelist=node)
        request = deployer.render(self.launch(small_servers.ANSWERS), "case-ghost", {"study": "cases"}, self.slot)
        handle = deployer.start(request, tmp_path)
        try:
            self.seen(deployer, handle, Status.RUNNING)
            assert poll(lambda: deployer.endpoint(handle), Deadline.after(PATIENCE_S))
            self.cluster.kill_node(node)
            assert "its node is down" in self.seen(deployer, handle, Status.LOST).detail
            assert self.cluster.processes("case-ghost")
            deployer.stop(handle, 0)
            gone = poll(lambda: None if self.cluster.processes("case-ghost") else True, Deadline.after(PATIENCE_S), 0.5)
            assert gone, "the ghost lives on"
        finally:
            self.cluster.start_node(node)
            self.cluster.wait_until_idle()

    def test_secrets_reach_the_server_and_nothing_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_TOKEN", "canary-4711")
        monkeypatch.setenv("UNRELATED", "canary-4712")
        seen = "hashlib.sha256(os.environ['TOKEN'].encode()).hexdigest(), 'UNRELATED' in os.environ"
        source = f"import hashlib, os; print({seen})"
        launch = Launch(argv=(self.python, "-c", source), secrets={"TOKEN": "MY_TOKEN"}, model=MODEL)
        monkeypatch.setenv("HOME", str(self.cluster.folder))
        deployer = self.deployer(folder="its own/servers")  # relative to the home folder
        request = deployer.render(launch, "case-secret", {"attempt": "case-secret"}, self.slot)
        handle = deployer.start(request, tmp_path)
        try:
            self.seen(deployer, handle, Status.EXITED)
            assert [path.name for path in self.cluster.folder.glob("its own/servers/*.log")] == ["case-secret.log"]
            assert deployer.log(handle) == "fcb3964ba880e950970f401750817e6b35448bc5ed3a4c06ca67c743f36b5aa6 False\n"
            assert "canary" not in str(request)
        finally:
            deployer.stop(handle, 0)
