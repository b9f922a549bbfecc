"""The promises of a deployer, kept by InferenceServices of a fake cluster over real sockets, or of a real one.

`OPTUNA_TUNER_TEST_KUBECONFIG` and `OPTUNA_TUNER_TEST_OME_MODEL` name a real cluster with OME and a model of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from clusters import IMAGE, PYTHON, REAL, Cluster

from optuna_tuner import home
from optuna_tuner.deployers.ome.deployer import Ome
from optuna_tuner.testing.deployer_cases import DeployerCases
from optuna_tuner.values import Launch, Model

MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
READY = Launch(argv=("true",), model=MODEL, image=IMAGE)


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    """With the model and the runtime of the cases."""
    if not cluster.has_ome:
        pytest.skip("OPTUNA_TUNER_TEST_OME_MODEL names no model of the cluster")
    Ome(Ome.Options.model_validate(cluster.ome_options)).prepare(READY)
    return cluster


@pytest.fixture(autouse=True)
def own_home(prepared: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    TestOme.cluster = prepared
    reach = "port-forward" if REAL else "service"  # a port-forward is a process of its own, tried in a whole study
    TestOme.options = {**prepared.ome_options, "reach": reach}
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))


class TestOme(DeployerCases):
    deployer_class = Ome
    python = PYTHON
    seen_s: ClassVar[float] = 4.0  # asked once a second at most
    cluster: ClassVar[Cluster]

    def launch(self, source: str, *words: str) -> Launch:
        return Launch(argv=(self.python, "-c", source, "{host}", "{port}", *words), model=MODEL, image=IMAGE)

    def remains(self, name: str) -> Sequence[str]:
        return self.cluster.remains(name)

    def impossible(self) -> Mapping[str, Launch]:
        """A command that is not there is known only on the node."""
        secret = {"TOKEN": "SECRET_THAT_IS_NOT_SET"}
        return {"SECRET_THAT_IS_NOT_SET": Launch(argv=("echo",), secrets=secret, model=MODEL, image=IMAGE)}
