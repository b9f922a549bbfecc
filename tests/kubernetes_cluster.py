"""A real Kubernetes cluster of one node on this host, in a temporary folder, on ports of its own.

    python tests/kubernetes_cluster.py FOLDER COMMAND [WORD ...]

runs a command beside it, with the variables by which tests find it (tests/clusters.py). In FOLDER lie kube-apiserver,
kube-controller-manager, kube-scheduler and kubelet, version 1.20, which tests/lanes/kubernetes.sh builds of Debian's
source: such a kubelet speaks to Debian's Docker daemon itself. etcd is Debian's. There is no kube-proxy and no DNS:
pods are reached at their own addresses and by port-forwards.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from dockers import OwnDockerDaemon, own_daemon, programs
from slurm_cluster import free_ports

from optuna_tuner.clock import Deadline, poll

START_S, END_S = 300.0, 60.0
IMAGE, PAUSE = "tuner-test/debian:1.2.3", "tuner-test/pause:1.2.3"
TOKEN, NODE = "tuner-tests", "127.0.0.1"
PAUSE_COMMAND = "from signal import *; END = {SIGINT, SIGTERM}; pthread_sigmask(SIG_BLOCK, END); sigwait(END)"
SERVICES = "10.222.0.0/24"
RUNC = """\
#!{python}
# A node lowers the OOM score of its containers. Where root may not, as in many virtual machines, they keep ours.
import json, os, sys
words = sys.argv[1:]
if "--bundle" in words:
    path = os.path.join(words[words.index("--bundle") + 1], "config.json")
    with open(path) as file:
        config = json.load(file)
    with open("/proc/self/oom_score_adj") as file:
        least = int(file.read())
    config["process"]["oomScoreAdj"] = max(least, config["process"].get("oomScoreAdj", 0))
    with open(path, "w") as file:
        json.dump(config, file)
os.execv("{runc}", ["runc", *words])
"""
PROGRAMS = ("sh", "sleep", "cat", "tar", "env", "mkdir", "rm", "true", "false", "test", "mv", "touch")


class KubernetesCluster:
    """etcd, an API server, the controllers, a scheduler, and a node that runs containers by a Docker daemon."""

    def __init__(self, programs: Path) -> None:
        self._programs, self._daemons = programs, dict[str, subprocess.Popen[bytes]]()
        self.folder = Path(tempfile.mkdtemp(prefix="tuner-kubernetes-"))
        self.kubeconfig = self.folder / "kubeconfig"
        self._docker = daemon_for_nodes(self.folder / "programs")
        with self._docker.client() as client:
            for image, content in ((IMAGE, system_image()), (PAUSE, system_image())):
                repository, tag = image.split(":")
                starts = (
                    f'ENTRYPOINT ["/usr/bin/python3", "-c", "{PAUSE_COMMAND}"]'
                    if image == PAUSE
                    else "ENV PATH=/usr/bin:/bin"
                )
                client.import_image_from_data(content, repository=repository, tag=tag, changes=[starts])
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """All of it ends: first the pods, with the programs that keep them."""
        for name in ("kube-scheduler", "kube-controller-manager", "kubelet", "kube-apiserver", "etcd"):
            if name in self._daemons:
                end(self._daemons[name])
        with self._docker.client() as client:
            for each in client.containers(all=True):
                client.remove_container(each["Id"], force=True, v=True)
        self._docker.close()
        for mounted in sorted(mounts_below(self.folder), reverse=True):
            subprocess.run(["umount", mounted], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        etcd, peers, api, kubelet, controllers, scheduler = free_ports(6)
        folder, key = self.folder, self.folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f"{TOKEN},tests,tests,system:masters\n")
        store, peer = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
        self._spawn(
            shutil.which("etcd") or "etcd",
            f"--data-dir={folder}/etcd --listen-client-urls={store} --advertise-client-urls={store}",
            f"--listen-peer-urls={peer} --initial-advertise-peer-urls={peer} --initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers={store} --secure-port={api} --bind-address=127.0.0.1 --cert-dir={folder}/certificates",
            f"--token-auth-file={folder}/tokens.csv --authorization-mode=RBAC --service-cluster-ip-range={SERVICES}",
            f"--service-account-issuer=https://tests --service-account-key-file={key}",
            f"--service-account-signing-key-file={key} --feature-gates=TTLAfterFinished=true",
            "--kubelet-preferred-address-types=InternalIP --insecure-port=0",
        )
        self._write_kubeconfig(api)
        self._await("namespaces/default", lambda _: True)
        keeper = f"--kubeconfig={self.kubeconfig} --leader-elect=false --port=0 --bind-address=127.0.0.1"
        self._spawn(
            "kube-controller-manager",
            f"{keeper} --secure-port={controllers} --service-account-private-key-file={key}",
            f"--feature-gates=TTLAfterFinished=true --cert-dir={folder}/controllers",
        )
        self._spawn("kube-scheduler", f"{keeper} --secure-port={scheduler} --cert-dir={folder}/scheduler")
        self._spawn(
            "kubelet",
            f"--kubeconfig={self.kubeconfig} --root-dir={folder}/kubelet --cert-dir={folder}/kubelet-certificates",
            f"--port={kubelet} --address=127.0.0.1 --hostname-override={NODE} --healthz-port=0 --read-only-port=0",
            "--anonymous-auth=true --authorization-mode=AlwaysAllow --fail-swap-on=false --cgroup-driver=cgroupfs",
            "--cgroups-per-qos=false --enforce-node-allocatable= --make-iptables-util-chains=false --eviction-hard=",
            "--sync-frequency=2s",  # by default what it overlooked is seen after a minute
            f"--container-runtime=docker --docker-endpoint={self._docker.address} --pod-infra-container-image={PAUSE}",
            f"--volume-plugin-dir={folder}/volumes --cni-bin-dir={folder}/none --resolv-conf=",
        )
        self._await("nodes", lambda found: [_is_ready(each) for each in found["items"]] == [True])
        self._await("namespaces/default/serviceaccounts", lambda found: bool(found["items"]))

    def _write_kubeconfig(self, port: int) -> None:
        certificate = self.folder / "certificates" / "apiserver.crt"
        assert poll(lambda: True if certificate.exists() else None, Deadline.after(START_S)), self._logs()
        self._url = f"https://127.0.0.1:{port}/api/v1"
        authority = base64.b64encode(certificate.read_bytes()).decode()
        server = {"server": self._url.removesuffix("/api/v1"), "certificate-authority-data": authority}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": "tests", "user": {"token": TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": "default"}}],
            "current-context": "tests",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def _await(self, resource: str, holds: Callable[[Any], bool]) -> None:
        """Until the API server answers, and this holds of what it answers."""
        trusted = ssl.create_default_context(cafile=str(self.folder / "certificates" / "apiserver.crt"))
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=self._url, verify=trusted, headers=bearer) as api:

            def look() -> bool | None:
                try:
                    answer = api.get(resource)
                except httpx.HTTPError:
                    return None
                return (answer.is_success and holds(answer.json())) or None

            assert poll(look, Deadline.after(START_S), 0.5), self._logs()

    def _spawn(self, program: str, *words: str) -> None:
        name = Path(program).name
        argv = [str(self._programs / program), *" ".join(words).split()]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def _logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in self.folder.glob("*.log"))


def daemon_for_nodes(folder: Path) -> OwnDockerDaemon:
    """A Docker daemon that does what a kubelet asks of it, even where root has not all capabilities."""
    daemon = own_daemon()
    folder.mkdir()
    (folder / "runc").write_text(
        RUNC.format(python="/usr/bin/python3", runc=shutil.which("runc", path="/usr/sbin:/usr/bin"))
    )
    (folder / "runc").chmod(0o755)
    daemon.end()
    daemon.start(folder)
    return daemon


def own_kubernetes() -> KubernetesCluster:
    """One that is ours to end, of the programs in $PROGRAMS, by default where tests/lanes/kubernetes.sh builds them."""
    programs = Path(os.environ.get("PROGRAMS", "/opt/kubernetes"))
    if not (programs / "kubelet").exists():
        pytest.skip(f"no Kubernetes in {programs}: tests/lanes/kubernetes.sh builds it")
    return KubernetesCluster(programs)


def end(daemon: subprocess.Popen[bytes]) -> None:
    """By SIGTERM, and if need be by SIGKILL."""
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(END_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _is_ready(node: Mapping[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])


def mounts_below(folder: Path) -> Sequence[str]:
    """What the kubelet has mounted."""
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]


def system_image() -> bytes:
    """Debian's Python and a shell, with the libraries that they need."""
    packed = io.BytesIO()
    library = Path("/usr/lib/python3.11")
    binaries = [Path("/usr/bin") / name for name in (*PROGRAMS, "python3.11")]
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("bin", "lib", "lib64"):
            tar.addfile(linked(name, f"usr/{name}"))
        for path in sorted({*binaries, *libraries([*binaries, *library.glob("lib-dynload/*.so")])}):
            tar.add(path.resolve(), f"usr/{str(path).removeprefix('/usr/').removeprefix('/')}")
        tar.add(library, "usr/lib/python3.11", filter=lambda each: None if "__pycache__" in each.name else each)
        tar.addfile(linked("usr/bin/python3", "python3.11"))
        for name, mode in (("tmp", 0o1777), ("etc", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
    return packed.getvalue()


def linked(name: str, target: str) -> tarfile.TarInfo:
    """A link."""
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    return link


def libraries(binaries: Sequence[Path]) -> set[Path]:
    """What the dynamic linker loads for them, and itself."""
    said = subprocess.run(["ldd", *binaries], check=False, capture_output=True, text=True).stdout
    words = [word for line in said.splitlines() if line.startswith("\t") for word in line.split()]
    return {Path(word) for word in words if word.startswith("/")}


def main() -> int:
    """The command's own exit status."""
    folder, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with closing(KubernetesCluster(Path(folder))) as cluster:
        named = {
            "OPTUNA_TUNER_TEST_KUBECONFIG": str(cluster.kubeconfig),
            "OPTUNA_TUNER_TEST_KUBERNETES_IMAGE": IMAGE,
            "OPTUNA_TUNER_TEST_KUBERNETES_MOUNTS": ":".join(programs()),
        }
        return subprocess.run(command, env={**os.environ, **named}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
