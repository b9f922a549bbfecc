"""What a study file says wrongly for Docker is told with its place, before anything starts."""

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
  kind: docker
  memory: ENTER_MEMORY
  mounts: [{source: /srv, target: ENTER_TARGET}]
benchmark: {kind: http, scenario: "D(64,32)", concurrency: [1]}
space:
  max_num_seqs: {type: int, low: 1, high: 8}
goals: {objectives: [{metric: output_throughput_tok_s, direction: maximize}]}
"""


def faults(**entered: str) -> str:
    good = {"model": "/models/m", "image": "vllm/vllm-openai", "variable": "A", "memory": "40g", "target": "/x"}
    text = STUDY
    for name, value in {**good, **entered}.items():
        text = text.replace(f"ENTER_{name.upper()}", value)
    with pytest.raises(SpecError) as caught:
        parse_study(text, "study.yaml", InstalledKinds())
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("image", '"vllm; rm -rf /"', 'study.yaml:5:10: engine.image: "vllm; rm -rf /" is no name of an image'),
        ("image", "--privileged", 'study.yaml:5:10: engine.image: "--privileged" is no name of an image'),
        ("image", '""', "study.yaml:5:10: engine.image: the deployer docker starts servers from an image"),
        ("variable", "LD_PRELOAD", "study.yaml:6:9: engine.env.LD_PRELOAD: may not be set here"),
        ("variable", "NVIDIA_VISIBLE_DEVICES", "study.yaml:6:9: engine.env.NVIDIA_VISIBLE_DEVICES: may not be set"),
        ("memory", '"40 Gi"', "study.yaml:9:11: deployer.memory: must be a whole number with k, m, g or t behind it"),
        ("target", "/a/../etc", 'study.yaml:10:35: deployer.mounts[0].target: must be a path without ".."'),
        ("model", "./models/m", "study.yaml:2:27: model.path: must be an absolute path"),
        ("model", "/models/../etc", 'study.yaml:2:27: model.path: must be a path without ".."'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(place: str, value: str, told: str) -> None:
    assert faults(**{place: value}).startswith(told)


def test_a_study_without_an_image_is_told_what_to_write() -> None:
    told = faults(image="null")
    assert told.startswith("study.yaml:5:10: engine.image: the deployer docker starts servers from an image")
    assert told.endswith("such as image: vllm/vllm-openai:v0.33.0")
