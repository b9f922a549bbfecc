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
from pydantic import JsonValue

from optuna_tuner import home
from optuna_tuner.benchmarks.script import Script, ScriptOptions
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Target
from optuna_tuner.deployers.kubernetes import Kubernetes
from optuna_tuner.deployers.kubernetes_options import KubernetesOptions
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.deployer_cases import DeployerCases
from optuna_tuner.values import Endpoint, Launch, Model, RequestSlo

MODEL = Model(name="small", path="/nowhere", tokenizer="/nowhere")
PATIENCE_S = 120.0
# Asks the server, and leaves a report of 20 MiB beside its figures.
ASKS = """
import json, pathlib, sys, urllib.request
url, folder = sys.argv[1:]
assert urllib.request.urlopen(url + "/health").read() == b"ok"
pathlib.Path(folder, "raw").mkdir()
pathlib.Path(folder, "raw", "all.bin").write_bytes(b"0123456789abcdef" * 65536 * 20)
print("asked", file=sys.stderr)
pathlib.Path(folder, "metrics.json").write_text(json.dumps({"own_score": 7}))
"""


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

    def test_a_server_that_is_ended_has_no_successor(self, tmp_path: Path) -> None:
        request, _ = self.request(self.launch(small_servers.ANSWERS))
        ours = self.deployer()
        handle = ours.start(request, tmp_path)
        assert poll(lambda: ours.endpoint(handle), Deadline.after(PATIENCE_S))
        ours.stop(handle, 1)
        made = [each for each in self.cluster.told(handle.name) if each.startswith("SuccessfulCreate")]
        assert len(made) == 1, "a Job makes a new pod at once in the place of one that is deleted"

    def test_a_report_of_20_mib_comes_back_from_a_load_clients_pod_that_is_then_gone(self, tmp_path: Path) -> None:
        client: JsonValue = {"image": IMAGE, "cpu": "100m", "memory": "512Mi"}
        ours = Kubernetes(KubernetesOptions.model_validate({**self.cluster.options, "load_client": client}))
        request, labels = self.request(self.launch(small_servers.ANSWERS))
        handle = ours.start(request, tmp_path)
        try:
            assert poll(lambda: ours.endpoint(handle), Deadline.after(PATIENCE_S))
            said = {"command": [PYTHON, "-c", ASKS, "{url}", "{folder}"], "metrics": ["own_score"], "output": "file"}
            target = Target(
                endpoint=Endpoint(url="http://127.0.0.1:9", model="small"),  # nobody: only a pod can reach the server
                model=MODEL,
                folder=tmp_path,
                seed=1,
                slo=RequestSlo(),
                success_rate=0.99,
                slot=self.slot,
                site=ours.client_site(handle),
            )
            (measured,) = Script(ScriptOptions.model_validate(said)).run(target, Deadline.after(PATIENCE_S))
            folder = tmp_path / measured.report
            assert measured.metrics == {"own_score": 7}
            assert (folder / "raw" / "all.bin").read_bytes() == b"0123456789abcdef" * 65536 * 20
            assert (folder / "stderr.txt").read_text() == "asked\n"
            assert self.remains(f"{request.name}-script-1") == []
        finally:
            ours.stop(handle, 1)
        assert list(ours.find(labels)) == []
