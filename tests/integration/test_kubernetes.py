"""The promises of a deployer, kept by Jobs of a fake cluster over real sockets, or of a real one.

`OPTUNA_TUNER_TEST_KUBECONFIG` names a real cluster's kubeconfig, `OPTUNA_TUNER_TEST_KUBERNETES_IMAGE` an image with
python3 in it; what only a fake can do on request is skipped there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from clusters import IMAGE, PYTHON, Cluster

from optuna_tuner import home
from optuna_tuner.deployers.kubernetes import Kubernetes
from optuna_tuner.testing.deployer_cases import DeployerCases
from optuna_tuner.values import Launch, Model

MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")


@pytest.fixture(autouse=True)
def own_home(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    TestKubernetes.cluster = cluster
    TestKubernetes.options = cluster.options
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


class TestKubernetes(DeployerCases):
    deployer_class = Kubernetes
    python = PYTHON
    seen_s: ClassVar[float] = 4.0  # asked once a second at most
    cluster: ClassVar[Cluster]

    def launch(self, source: str, *words: str) -> Launch:
        return Launch(argv=(self.python, "-c", source, "{host}", "{port}", *words), model=MODEL, image=IMAGE)

    def remains(self, name: str) -> Sequence[str]:
        return self.cluster.remains(name)

    def impossible(self) -> Mapping[str, Launch]:
        """A command that is not there is known only on the node: see below."""
        secret = {"TOKEN": "SECRET_THAT_IS_NOT_SET"}
        return {"SECRET_THAT_IS_NOT_SET": Launch(argv=("echo",), secrets=secret, model=MODEL, image=IMAGE)}
