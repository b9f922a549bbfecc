"""A real Slurm cluster of two nodes on this host: Debian's own daemons, in a temporary folder, on ports of their own.

Each node has four GPUs that are copies of /dev/null. Where cgroups can be written (version 1), Slurm tracks a job's
processes and bounds its memory by them, as clusters do; else by the process tree alone. There, jobs lie under their
node's name and their number: each node's name holds its port, so that two clusters of this host never share a job.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from optuna_tuner.clock import Deadline, poll

START_S = 60.0
NODES = 2
GPUS = 4
CGROUPS = Path("/sys/fs/cgroup/freezer"), Path("/sys/fs/cgroup/memory")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
ProctrackType={track}
TaskPlugin={task}
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
MailProg=/bin/true
GresTypes=gpu
SlurmdTimeout=5
KillWait=5
MinJobAge=120
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=1 State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=8000 Gres=gpu:h100:{gpus}\n"
)


class SlurmCluster:
    """The daemons, and what a test may do to them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tuner-slurm-"))
        self.folder.chmod(0o755)  # munged runs as a user of its own
        self.has_cgroups = all(os.access(each, os.W_OK) for each in CGROUPS)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._ctld_port, *ports = free_ports(1 + NODES)
        self._node_ports = {f"n{number}-{port}": port for number, port in enumerate(ports, start=1)}
        self.nodes = tuple(self._node_ports)
        self._configure()
        self._start_munge()
        self._spawn("slurmctld", "slurmctld", "-D", "-c")
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_idle()

    @property
    def env(self) -> dict[str, str]:
        """What makes Slurm's commands talk to this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *argv: str) -> str:
        ran = subprocess.run(argv, env={**os.environ, **self.env}, capture_output=True, text=True, check=False)
        return ran.stdout

    def queue(self) -> Sequence[str]:
        """Names of the jobs that have not ended."""
        states = "PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING"
        return self.run("squeue", "--noheader", f"--states={states}", "--format=%j").split()

    def processes(self, name: str) -> Sequence[psutil.Process]:
        """Those of a job that bear its name, wherever Slurm's own tree has lost them."""
        return [each for each in psutil.process_iter() if _job_name(each) == name]

    def start_node(self, node: str) -> None:
        self._spawn(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str, *, with_job: str = "") -> None:
        """What is left of it are its jobs' processes; of this job not even they, nor who would tell of its end."""
        self._daemons[node].kill()
        self._daemons[node].wait()
        job = self.processes(with_job) if with_job else ()
        steps = {parent for each in job for parent in each.parents() if parent.name() == "slurmstepd"}
        for process in (*steps, *job):
            process.kill()

    def wait_until_idle(self) -> None:
        def look() -> bool | None:
            shown = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split()
            return True if shown == ["idle"] * NODES else None

        assert poll(look, Deadline.after(START_S)), self._logs()

    def close(self) -> None:
        self.run("scancel", "--me")  # what is in the queue when the daemons end stays behind
        poll(lambda: True if not self.queue() else None, Deadline.after(START_S), 0.5)
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._remove_cgroups()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_cgroups(self) -> None:
        """Those of the nodes, which outlive even daemons that end in peace; not one that still holds a process."""
        roots = (hierarchy / f"slurm_{node}" for hierarchy in CGROUPS for node in self.nodes)
        for root in roots:
            for folder, _, _ in os.walk(root, topdown=False):
                with suppress(OSError):
                    Path(folder).rmdir()

    def _configure(self) -> None:
        host = socket.gethostname().split(".")[0]
        track, task = ("cgroup", "cgroup") if self.has_cgroups else ("linuxproc", "none")
        conf = CONF.format(
            folder=self.folder,
            host=host,
            track=f"proctrack/{track}",
            task=f"task/{task}",
            ctld_port=self._ctld_port,
        )
        nodes = [NODE.format(name=name, host=host, port=port, gpus=GPUS) for name, port in self._node_ports.items()]
        (self.folder / "slurm.conf").write_text(conf + "".join(nodes))
        gpus = f"NodeName={','.join(self.nodes)} Name=gpu Type=h100 File={self.folder}/gpu[0-{GPUS - 1}]\n"
        (self.folder / "gres.conf").write_text(gpus)
        limits = "ConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n"
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\n{limits}")
        for number in range(GPUS):
            os.mknod(self.folder / f"gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (self.folder / "state").mkdir()

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        folder.mkdir(mode=0o755)
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o600)
        user = pwd.getpwnam("munge")
        for path in (folder, folder / "key"):
            os.chown(path, user.pw_uid, user.pw_gid)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        argv = ["munged", "--foreground", *(f"--{option}={folder / name}" for option, name in files.items())]
        self._spawn("munged", "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", *argv)
        assert poll(lambda: True if (folder / "socket").exists() else None, Deadline.after(START_S)), self._logs()

    def _spawn(self, name: str, *argv: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            env = {**os.environ, **self.env}
            self._daemons[name] = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))


def _job_name(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("SLURM_JOB_NAME")
    except psutil.Error:
        return None


def free_ports(count: int) -> Sequence[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A cluster; tests that kill a node bring it back."""
    before = os.environ.get("SLURM_CONF")
    cluster = own_cluster()
    os.environ.update(cluster.env)
    yield cluster
    os.environ.pop("SLURM_CONF")
    os.environ.update({"SLURM_CONF": before} if before else {})
    cluster.close()


def own_cluster() -> SlurmCluster:
    """One that is ours to end."""
    if os.getuid() != 0:
        pytest.skip("Slurm's daemons want root here")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: slurm-wlm munge)")
    return SlurmCluster()
