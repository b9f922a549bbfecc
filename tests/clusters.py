"""A Kubernetes cluster with OME for tests: the fake one of the test kit, or a real one that the environment names.

`OPTUNA_TUNER_TEST_KUBECONFIG` is its kubeconfig, whose context's namespace `default` may be used;
`OPTUNA_TUNER_TEST_KUBERNETES_IMAGE` an image with Python 3.11 or newer, by default Docker's own;
`OPTUNA_TUNER_TEST_KUBERNETES_MOUNTS` says that this machine is its node: folders, separated by colons, that its pods
need to run this machine's own programs; `OPTUNA_TUNER_TEST_OME_MODEL` a ClusterBaseModel that is ready there. The fake
one holds OME's objects against its own definitions, where a folder of them lies beside the checkout, in
shared/data/ome-crds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import JsonValue

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.testing.fake_cluster import FakeCluster
from optuna_tuner.testing.fake_objects import part

if TYPE_CHECKING:
    from optuna_tuner.deployers.kubernetes_api import Api

REAL = os.environ.get("OPTUNA_TUNER_TEST_KUBECONFIG")
MOUNTS = [each for each in os.environ.get("OPTUNA_TUNER_TEST_KUBERNETES_MOUNTS", "").split(":") if each]
IMAGE = os.environ.get("OPTUNA_TUNER_TEST_KUBERNETES_IMAGE", "python:3.11-slim")
_CRDS = (each / "shared/data/ome-crds" for each in Path(__file__).parents)
CRDS = next((each for each in _CRDS if each.is_dir()), None)
MODEL = os.environ.get("OPTUNA_TUNER_TEST_OME_MODEL", "small")
PYTHON = "python3" if REAL else sys.executable
COLLECTED_S = 60.0  # what a Job owned goes a moment after it; a node may take a minute to forget a pod
_CLUSTER = """
import sys
from pathlib import Path
from optuna_tuner.testing.fake_cluster import FakeCluster
image, *crds = sys.argv[1:]
fake = FakeCluster([image], crds=Path(crds[0]) if crds else None)
print(fake.kubeconfig, flush=True)
sys.stdin.read()
fake.close()
"""


class Cluster:
    """Any cluster, looked at with a client of its own."""

    def __init__(self, kubeconfig: Path) -> None:
        pytest.importorskip("kubernetes", reason="the extra kubernetes is not installed")
        api = import_module("optuna_tuner.deployers.kubernetes_api")
        self.kubeconfig = kubeconfig
        self._api: Api = api.Api(api.connect(str(kubeconfig), None))
        self.has_ome = not REAL or "OPTUNA_TUNER_TEST_OME_MODEL" in os.environ

    @property
    def options(self) -> Mapping[str, JsonValue]:
        return {"kubeconfig": str(self.kubeconfig), "poll_s": 0.2, "shm_size": "64Mi", "max_life_s": 600}

    @property
    def own_options(self) -> Mapping[str, JsonValue]:
        """With the programs of this machine: for those who run whole studies."""
        return {**self.options, "max_life_s": 90_000, "volumes": mounted(MOUNTS)}

    @property
    def ome_options(self) -> Mapping[str, JsonValue]:
        return ome_options(self.kubeconfig)

    def objects(self, name: str = "") -> Sequence[str]:
        """All of ours, or of one server, in words."""
        kinds = ["jobs", "pods", "services", "secrets", "configmaps", *(["inferenceservices"] if self.has_ome else [])]
        found = {kind: self._list(kind, name) for kind in kinds}
        return [f"{kind} {part(each, 'metadata')['name']}" for kind, listed in found.items() for each in listed]

    def told(self, name: str) -> Sequence[str]:
        """The Events of one object, "REASON: MESSAGE" each."""
        return self._api.events(name, "default")

    def remains(self, name: str = "") -> Sequence[str]:
        """What is left of all, or of one server, after what a Job owned and the pods that are over had time to go."""
        phases = {part(each, "status")["phase"] for each in self._list("pods", name)}
        if not self._list("jobs", name) and phases <= {"Failed", "Succeeded"}:
            poll(lambda: None if self.objects(name) else True, Deadline.after(COLLECTED_S))
        return self.objects(name)

    def _list(self, kind: str, name: str) -> Sequence[Mapping[str, JsonValue]]:
        return self._api.list(kind, "default", labels=f"optuna-tuner/name={name}" if name else "optuna-tuner/name")


def mounted(folders: Iterable[str]) -> list[JsonValue]:
    """As volumes, of a node that is this machine: each at its own path."""
    return [{"host_path": each, "target": each} for each in folders]


def ome_options(kubeconfig: Path, **more: JsonValue) -> dict[str, JsonValue]:
    """Options of the deployer ome: a model that is there or can be fetched, and a runtime without a GPU."""
    probe: JsonValue = {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1, "failureThreshold": 600}
    runner: JsonValue = {
        "name": "ome-container",
        "image": IMAGE,
        "command": ["sleep", "infinity"],
        "ports": [{"containerPort": 8080, "name": "http1", "protocol": "TCP"}],
        "startupProbe": probe,
    }
    model: JsonValue = {
        "name": MODEL,
        "spec": {"storage": {"storageUri": "hf://nobody/small", "path": "/models/small"}},
    }
    return {
        "kubeconfig": str(kubeconfig),
        "poll_s": 0.2,
        "clusterbasemodel_config": {"name": MODEL} if REAL else model,
        "clusterservingruntime_config": {"name": "tuner-tests", "spec": {"engineConfig": {"runner": runner}}},
        **more,
    }


@contextmanager
def cluster_process() -> Iterator[Cluster]:
    """The fake one in a process of its own, for those who fork; or the real one of this machine."""
    if REAL and MOUNTS:
        yield Cluster(Path(REAL))
        return
    words = [sys.executable, "-c", _CLUSTER, IMAGE, *map(str, filter(None, [CRDS]))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Cluster(Path(process.stdout.readline().strip()))
        process.communicate()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if REAL:
        yield Cluster(Path(REAL))
        return
    fake = FakeCluster([IMAGE], crds=CRDS)
    yield Cluster(fake.kubeconfig)
    fake.close()


@pytest.fixture
def fake_cluster() -> Iterator[FakeCluster]:
    """One of a test's own, which can be told to do wrong."""
    fake = FakeCluster([IMAGE], gpus=2, crds=CRDS)
    yield fake
    fake.close()
