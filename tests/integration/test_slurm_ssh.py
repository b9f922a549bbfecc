"""A cluster that is reached by ssh alone: its commands on a login node, its servers through a tunnel."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from runs import wait_for
from slurm_cluster import SlurmCluster, free_ports

from optuna_tuner.deployers.slurm import Slurm
from optuna_tuner.deployers.slurm_options import SlurmOptions
from optuna_tuner.errors import DeployerError
from optuna_tuner.testing import small_servers
from optuna_tuner.values import Launch, Model, Slot, Status

SERVER = "/usr/sbin/sshd"
MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
SLOT = Slot(name="slurm-0", host="here", elsewhere=True)
CONF = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/me.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
SetEnv SLURM_CONF={conf}
"""


@pytest.fixture
def ssh(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Sequence[str]]:
    """The command that reaches a real sshd on loopback, from which the cluster is seen."""
    if not Path(SERVER).exists() or shutil.which("ssh") is None:
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's own, else made by its service
    for key in ("host_key", "me"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key)], check=True)
    [port] = free_ports(1)
    conf = tmp_path / "sshd.conf"
    conf.write_text(CONF.format(port=port, folder=tmp_path, conf=slurm.env["SLURM_CONF"]))
    with subprocess.Popen([SERVER, "-D", "-e", "-f", str(conf)], stderr=subprocess.DEVNULL) as server:
        command = ["ssh", "-F/dev/null", f"-p{port}", f"-i{tmp_path}/me", "-oBatchMode=yes", "-oLogLevel=ERROR"]
        command += ["-oStrictHostKeyChecking=no", f"-oUserKnownHostsFile={tmp_path}/known"]
        try:
            wait_for(lambda: subprocess.run([*command, "root@127.0.0.1", "true"], check=False).returncode == 0)
            yield command
        finally:
            server.terminate()


@pytest.fixture
def options(slurm: SlurmCluster, ssh: Sequence[str], home: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmOptions:
    assert home
    monkeypatch.delenv("SLURM_CONF")  # from here nothing of the cluster is seen
    way = "{host}:{port}:127.0.0.1:{node_port}"
    return SlurmOptions.model_validate(
        {
            "host": "root@127.0.0.1",
            "ssh": list(ssh),
            "folder": str(slurm.folder / "far away's"),
            "bind": "127.0.0.1",
            "poll_s": 1,
            "tunnel": [*ssh, "-N", "-L", way, "root@127.0.0.1"],
        }
    )


def left(slurm: SlurmCluster, name: str) -> Sequence[object]:
    tunnels = subprocess.run(["pgrep", "-f", "--", "-N -L 127.0.0.1"], capture_output=True, check=False).stdout.split()
    jobs = [job for job in slurm.queue() if job == name]
    return [*jobs, *slurm.processes(name), *slurm.folder.glob(f"far away's/{name}*"), *tunnels]


def test_a_server_on_a_cluster_that_only_ssh_reaches(
    slurm: SlurmCluster, options: SlurmOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "it's a $secret; `id`")
    said = "import hashlib, os; print(hashlib.sha256(os.environ['TOKEN'].encode()).hexdigest(), flush=True)\n"
    argv = (sys.executable, "-c", said + small_servers.ANSWERS, "{host}", "{port}")
    labels = {"attempt": "far", "study": "it's"}
    deployer = Slurm(options)
    launch = Launch(argv=argv, secrets={"TOKEN": "MY_TOKEN"}, model=MODEL)
    deployer.prepare(launch)
    handle = deployer.start(deployer.render(launch, "case-far", labels, SLOT), tmp_path)
    try:
        wait_for(lambda: deployer.endpoint(handle))
        endpoint = deployer.endpoint(handle)
        assert endpoint is not None
        wait_for(lambda: answers(endpoint.url))
        assert deployer.state(handle).status is Status.RUNNING
        assert deployer.log(handle).startswith(hashlib.sha256(b"it's a $secret; `id`").hexdigest())
        [found] = Slurm(options).find({"study": "it's"})
        assert (found.name, found.ref) == (handle.name, handle.ref)
        with pytest.raises(DeployerError, match="case-far"):
            deployer.start(deployer.render(launch, "case-far", labels, SLOT), tmp_path)
    finally:
        Slurm(options).stop(handle, 2)
    assert left(slurm, "case-far") == []
    assert deployer.find(labels) == ()


def test_a_tunnel_that_ends_is_the_machines_fault(slurm: SlurmCluster, options: SlurmOptions, tmp_path: Path) -> None:
    deployer = Slurm(options)
    launch = Launch(argv=(sys.executable, "-c", small_servers.ANSWERS, "{host}", "{port}"), model=MODEL)
    handle = deployer.start(deployer.render(launch, "case-cut", {}, SLOT), tmp_path)
    try:
        wait_for(lambda: deployer.endpoint(handle))
        for pid in subprocess.run(
            ["pgrep", "-f", "--", "-N -L 127.0.0.1"], capture_output=True, check=True
        ).stdout.split():
            os.kill(int(pid), signal.SIGTERM)
        wait_for(lambda: deployer.state(handle).status is Status.LOST)
        assert "the tunnel to it ended" in deployer.state(handle).detail
    finally:
        deployer.stop(handle, 0)
    assert left(slurm, "case-cut") == []


def test_a_host_that_cannot_be_reached_is_told(options: SlurmOptions) -> None:
    far = Slurm(options.model_copy(update={"ssh": (*options.ssh[:2], "-p1", *options.ssh[3:])}))
    with pytest.raises(DeployerError, match=r"ssh failed \(255\): ssh: connect to host 127.0.0.1 port 1"):
        far.find({})


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
