"""What a study file says wrongly for Kubernetes is told with its place, before anything starts."""

from __future__ import annotations

import pytest

from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study

STUDY = """\
name: chat
model: {name: tiny, path: ENTER_MODEL}
engine:
  kind: vllm
  image: ENTER_IMAGE
  env: {ENTER_VARIABLE: "1"}
deployer:
  kind: kubernetes
  namespace: ENTER_NAMESPACE
  memory: ENTER_MEMORY
  volumes: [ENTER_VOLUME]
  node_selector: ENTER_SELECTOR
  tolerations: [ENTER_TOLERATION]
  labels: ENTER_LABELS
  patch: ENTER_PATCH
  max_life_s: ENTER_LIFE
benchmark: {kind: http, scenario: "D(64,32)", concurrency: [1]}
space:
  max_num_seqs: {type: int, low: 1, high: 8}
goals: {objectives: [{metric: output_throughput_tok_s, direction: maximize}]}
"""
GOOD = {
    "model": "/models/m",
    "image": "vllm/vllm-openai",
    "variable": "A",
    "namespace": "bench",
    "memory": "40Gi",
    "volume": "{claim: models, target: /models}",
    "selector": "{gpu: h100}",
    "toleration": "{key: gpu, operator: Exists}",
    "labels": "{team: serving}",
    "patch": "{}",
    "life": "172800",
}


def written(**entered: str) -> str:
    text = STUDY
    for name, value in {**GOOD, **entered}.items():
        text = text.replace(f"ENTER_{name.upper()}", value)
    return text


def faults(**entered: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_study(written(**entered), "study.yaml", InstalledKinds())
    return str(caught.value)


def test_a_good_one_is_taken() -> None:
    assert parse_study(written(), "study.yaml", InstalledKinds()).deployer.kind == "kubernetes"


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("image", "--privileged", 'study.yaml:5:10: engine.image: "--privileged" is no name of an image'),
        ("image", '""', "study.yaml:5:10: engine.image: the deployer kubernetes starts servers from an image"),
        ("variable", "LD_PRELOAD", "study.yaml:6:9: engine.env.LD_PRELOAD: may not be set here"),
        ("model", "/models/../etc", 'study.yaml:2:27: model.path: must be a path without ".."'),
        ("model", "./models", "study.yaml:2:27: model.path: must be an absolute path"),
        (
            "namespace",
            "n" * 64,
            "study.yaml:9:14: deployer.namespace: the name has 64 characters, and Kubernetes takes 63",
        ),
        ("namespace", "Bench", "study.yaml:9:14: deployer.namespace: the name must be of small letters"),
        ("memory", '"40 Gi"', "study.yaml:10:11: deployer.memory: must be a quantity such as 40Gi"),
        ("memory", "40GB", "study.yaml:10:11: deployer.memory: must be a quantity such as 40Gi"),
        ("volume", "{target: /models}", "study.yaml:11:13: deployer.volumes[0]: say where it comes from"),
        (
            "volume",
            "{claim: a, host_path: /b, target: /models}",
            "study.yaml:11:13: deployer.volumes[0]: say where it comes from: either claim or host_path",
        ),
        (
            "volume",
            "{host_path: /srv/../etc, target: /models}",
            'study.yaml:11:25: deployer.volumes[0].host_path: must be a path without ".."',
        ),
        ("volume", "{claim: a, target: /proc}", 'study.yaml:11:32: deployer.volumes[0].target: "/proc" belongs to'),
        (
            "volume",
            "{claim: a, target: /m}, {claim: b, target: /m}",
            "study.yaml:11:12: deployer.volumes: two volumes have the target /m",
        ),
        ("selector", '{"a b": c}', "study.yaml:12:26: deployer.node_selector.a b: must be a label's key"),
        ("selector", '{gpu: "h 100"}', "study.yaml:12:24: deployer.node_selector.gpu: a label's value must be of"),
        ("toleration", "{value: a}", "study.yaml:13:17: deployer.tolerations[0]: without a key the operator must be"),
        ("labels", "{optuna-tuner/name: a}", "study.yaml:14:31: deployer.labels.optuna-tuner/name: labels that begin"),
        (
            "patch",
            "{spec: {backoffLimit: 3}}",
            "study.yaml:15:10: deployer.patch: spec.backoffLimit may not be patched",
        ),
        ("life", "3600", "study.yaml:16:15: deployer.max_life_s: a Job ends after 3600 s, and the study's limits give"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(place: str, value: str, told: str) -> None:
    assert faults(**{place: value}).startswith(told)
