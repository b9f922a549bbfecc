"""`optuna-tuner ome` and `doctor --deployer`, against the fake cluster: what they say, and what they leave alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from clusters import IMAGE, ome_options
from pydantic import JsonValue

from optuna_tuner.cli.app import cli
from optuna_tuner.deployers.ome.deployer import Ome
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.testing.fake_cluster import FakeCluster
from optuna_tuner.testing.fake_objects import part
from optuna_tuner.values import Launch, Model, Slot

LAUNCH = Launch(argv=("sleep", "100"), model=Model(name="small", path="/x", tokenizer="/x"), image=IMAGE)


def say(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))


def study(cluster: FakeCluster, folder: Path, **more: JsonValue) -> Path:
    document = {
        "name": "services",
        "model": {"name": "tiny", "path": "hub/tiny"},
        "engine": {"kind": "fake"},
        "deployer": {"kind": "ome", **ome_options(cluster.kubeconfig, **more)},
        "benchmark": {"kind": "http", "scenario": "D(8,64)", "concurrency": [1]},
        "space": {"itl_ms": {"type": "float", "low": 4.0, "high": 5.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
    }
    path = folder / "services.json"
    path.write_text(json.dumps(document))
    return path


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code in {0, 4}, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_a_study_is_shown_validated_made_listed_and_taken_away(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    path, where = study(fake_cluster, tmp_path), ("--kubeconfig", fake_cluster.kubeconfig)
    shown = list(yaml.safe_load_all(say("ome", "show", path).stdout))
    assert [each["kind"] for each in shown] == ["ClusterBaseModel", "ClusterServingRuntime"]
    before = rows(say("ome", "validate", path, "-o", "json"))
    assert [each["the cluster says"] for each in before[:2]] == ["would be made"] * 2
    assert rows(say("ome", "list", *where, "-o", "json")) == []
    ours = Ome(OmeOptions.model_validate(ome_options(fake_cluster.kubeconfig)))
    ours.prepare(LAUNCH)
    after = rows(say("ome", "validate", path, "-o", "json"))
    assert [each["the cluster says"] for each in after] == ["there: Ready", "there", "would be made"]
    handle = ours.start(ours.render(LAUNCH, "case-1", {"study": "s1"}, Slot(name="s", host="h")), tmp_path)
    listed = rows(say("ome", "list", *where, "-o", "json"))
    assert {(each["name"], each["of"]) for each in listed} == {
        ("small", "a study"),
        ("tuner-tests", "a study"),
        ("case-1", "s1"),
    }
    used = say("ome", "delete", "small", *where)
    assert (used.exit_code, "small is used by the InferenceService case-1" in used.stderr) == (2, True)
    ours.stop(handle, 0)
    assert "Deleted the ClusterBaseModel small" in say("ome", "delete", "small", *where).stderr
    assert fake_cluster.names("clusterbasemodels", "clusterservingruntimes") == ["clusterservingruntimes tuner-tests"]
    gone = say("ome", "delete", "small", *where)
    assert (gone.exit_code, 'no ClusterServingRuntime "small"' in gone.stderr) == (2, True)


def test_what_is_another_thing_or_somebody_elses_is_told(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    Ome(OmeOptions.model_validate(ome_options(fake_cluster.kubeconfig))).prepare(LAUNCH)
    other = study(fake_cluster, tmp_path, clusterbasemodel_config={"name": "small", "spec": {"storage": STORED}})
    said = say("ome", "validate", other, "-o", "json")
    assert said.exit_code == 4
    assert "spec.storage.storageUri is hf://nobody/small, not hf://a/b" in rows(said)[0]["the cluster says"]

    def disown() -> None:
        part(part(fake_cluster.kubelet.objects.get("clusterbasemodels", "", "small"), "metadata"), "labels").clear()

    fake_cluster.do(disown)
    refused = say("ome", "delete", "small", "--kubeconfig", fake_cluster.kubeconfig)
    assert (refused.exit_code, "was not made by the tuner" in refused.stderr) == (2, True)


STORED: JsonValue = {"storageUri": "hf://a/b"}


def test_doctor_names_each_verb_that_is_missing(fake_cluster: FakeCluster) -> None:
    words = ("doctor", "--deployer", "ome", "--kubeconfig", fake_cluster.kubeconfig, "-o", "json")
    assert {each["check"]: each["ok"] for each in rows(say(*words))} == {
        "cluster": True,
        "OME": True,
        "rights": True,
        "rights: reach port-forward": True,
        "rights: reach service": True,
        "rights: secrets": True,
        "rights: models and runtimes": True,
        "rights: load client": True,
        "rights: benchmark job": True,
    }
    fake_cluster.api.forbidden = {"delete ome.io/inferenceservices/", "create ome.io/clusterservingruntimes/"}
    said = say(*words)
    assert said.exit_code == 4
    found = {each["check"]: each["found"] for each in rows(said)}
    assert found["rights"] == "we may not: delete ome.io/inferenceservices"
    assert found["rights: models and runtimes"] == "we may not: create ome.io/clusterservingruntimes"
    fake_cluster.ome.is_installed = False
    assert {each["check"]: each["ok"] for each in rows(say(*words))}["OME"] is False
    kubernetes = say("doctor", "--deployer", "kubernetes", "--kubeconfig", fake_cluster.kubeconfig, "-o", "json")
    assert (kubernetes.exit_code, all(each["ok"] for each in rows(kubernetes))) == (0, True)


def test_presets_are_listed_and_shown_as_manifests() -> None:
    assert "llama-3-2-1b" in say("ome", "presets").stdout
    shown = yaml.safe_load(say("ome", "show", "vllm-llama-small").stdout)
    assert shown["metadata"]["name"] == "tuner-vllm-llama-small"
    unknown = say("ome", "show", "nope")
    assert (unknown.exit_code, '"nope" is no preset and no file' in unknown.stderr) == (2, True)
