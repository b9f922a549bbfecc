"""What a study file says wrongly for OME is told with its place, before anything starts."""

from __future__ import annotations

import pytest

from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study

STUDY = """\
name: chat
model: {name: llama, path: meta-llama/Llama-3.2-1B-Instruct}
engine: ENTER_ENGINE
deployer:
  kind: ome
  clusterbasemodel_config: ENTER_MODEL
  clusterservingruntime_config: ENTER_RUNTIME
  patch: ENTER_PATCH
  command: ENTER_COMMAND
benchmark: {kind: http, scenario: "D(64,32)", concurrency: [1]}
space:
  max_num_seqs: {type: int, low: 1, high: 8}
goals: {objectives: [{metric: output_throughput_tok_s, direction: maximize}]}
"""
GOOD = {
    "engine": "{kind: vllm, version: 0.33.0}",
    "model": "{preset: llama-3-2-1b}",
    "runtime": "{preset: vllm-llama-small}",
    "patch": "{}",
    "command": "engine",
}
OWN = "{name: mine, spec: {engineConfig: {runner: {name: ome-container, image: vllm}}}}"


def written(**entered: str) -> str:
    text = STUDY
    for name, value in {**GOOD, **entered}.items():
        text = text.replace(f"ENTER_{name.upper()}", value)
    return text


def faults(**entered: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_study(written(**entered), "study.yaml", InstalledKinds())
    return str(caught.value)


@pytest.mark.parametrize(
    "entered",
    [
        {},
        {"model": "{preset: llama-3-2-1b, name: mine, overrides: {storage: {path: /mnt/llama}}, labels: {team: a}}"},
        {"model": "{name: there}"},
        {"runtime": OWN},
        {"runtime": "{preset: vllm-llama-small, overrides: {modelSizeRange: null}}"},
        {"patch": "{spec: {engine: {nodeSelector: {gpu: h100}}}}"},
        {"engine": "{kind: vllm, image: 'vllm/vllm-openai:v0.32.0'}"},
    ],
)
def test_a_good_one_is_taken(entered: dict[str, str]) -> None:
    assert parse_study(written(**entered), "study.yaml", InstalledKinds()).deployer.kind == "ome"


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("model", "{}", "study.yaml:6:28: deployer.clusterbasemodel_config: say which: a preset, a name and a spec"),
        (
            "model",
            "{preset: llama-3-2-2b}",
            'study.yaml:6:37: deployer.clusterbasemodel_config.preset: no ClusterBaseModel has the preset "llama-3',
        ),
        ("model", "{preset: vllm-llama-small}", "(it is a ClusterServingRuntime)"),
        (
            "model",
            "{preset: llama-3-2-1b, spec: {}}",
            "clusterbasemodel_config.spec: there is a preset: change it with",
        ),
        ("model", "{spec: {}}", "clusterbasemodel_config.spec: needs a name"),
        ("model", "{name: a, overrides: {x: 1}}", "clusterbasemodel_config.overrides: there is no preset"),
        ("model", "{name: a, labels: {x: y}}", "clusterbasemodel_config.labels: what is only named is never made"),
        ("model", "{name: A_B}", "study.yaml:6:35: deployer.clusterbasemodel_config.name: must be a name of small"),
        ("model", "{name: a, spec: {}}", "clusterbasemodel_config.spec.storage.storageUri: says where the model is"),
        (
            "model",
            "{name: a, spec: {storage: {storageUri: 'http://x/y'}}}",
            'clusterbasemodel_config.spec.storage.storageUri: "http://x/y" is no storage',
        ),
        (
            "model",
            "{preset: llama-3-2-1b, overrides: {storage: {path: /models/../etc}}}",
            "study.yaml:6:79: deployer.clusterbasemodel_config.overrides.storage.path: must be an absolute path on the",
        ),
        ("model", "{preset: llama-3-2-1b, overrides: {disabled: true}}", "overrides.disabled: OME starts nothing"),
        ("model", "{preset: llama-3-2-1b, labels: {optuna-tuner/x: a}}", "labels that begin with optuna-tuner/ are"),
        ("runtime", "{name: theirs}", "deployer: a runtime that is only named does not tell its GPUs here: say gpus"),
        ("runtime", "{name: mine, spec: {}}", "spec.engineConfig.runner: says how the server's container runs"),
        (
            "runtime",
            "{name: mine, spec: {engineConfig: {runner: {name: vllm, image: vllm}}}}",
            "spec.engineConfig.runner.name: must be ome-container",
        ),
        (
            "runtime",
            "{preset: vllm-llama-small, overrides: {engineConfig: {runner: {args: [--x]}}}}",
            "overrides.engineConfig.runner.args: are replaced by those of a trial: write what is fixed into command",
        ),
        (
            "runtime",
            "{preset: vllm-llama-small, overrides: {engineConfig: {runner: {command: ['{{.Name}}']}}}}",
            'overrides.engineConfig.runner.command: "{{" would begin an expression of OME\'s templates',
        ),
        (
            "runtime",
            "{preset: vllm-llama-small, overrides: {engineConfig: {leader: {}}}}",
            "overrides.engineConfig.leader: servers that span nodes are not supported",
        ),
        (
            "runtime",
            "{preset: vllm-llama-small, overrides: {supportedModelFormats: [{autoSelect: true}]}}",
            "overrides.supportedModelFormats[0].autoSelect: must be false: OME would choose the runtime for other",
        ),
        (
            "runtime",
            "{preset: vllm-llama-small, overrides: {supportedModelFormats: [{acceleratorConfig: {h100: {}}}]}}",
            "overrides.supportedModelFormats[0].acceleratorConfig: OME would write it over the flags that are sampled",
        ),
        (
            "runtime",
            "{preset: vllm-llama-large}",
            "deployer.clusterservingruntime_config: this runtime does not serve the model llama-3-2-1b-instruct",
        ),
        (
            "runtime",
            "{preset: vllm-llama-small, overrides: {modelSizeRange: {min: 3B}}}",
            "it serves models of 3B to 9B parameters, and this one has 1.24B",
        ),
        ("runtime", "{preset: sglang-llama-small}", "preset: its image holds sglang, and the study's engine is vllm"),
        (
            "engine",
            "{kind: vllm, version: 0.32.0}",
            "study.yaml:3:31: engine.version: the flags would be held against 0.32.0, and the runtime's image is",
        ),
        ("engine", "{kind: vllm, image: --privileged}", 'engine.image: "--privileged" is no name of an image'),
        (
            "engine",
            "{kind: vllm, version: 0.33.0, flags: {chat_template: '{{ x }}'}}",
            'engine.flags.chat_template: "{{" would begin an expression',
        ),
        ("patch", "{spec: {engine: {minReplicas: 0}}}", "deployer.patch: spec.engine.minReplicas may not be patched"),
        ("patch", "{spec: {model: {name: x}}}", "spec.model may not be patched: deployer.clusterbasemodel_config says"),
        ("patch", "{spec: {decoder: {}}}", "deployer.patch: spec.decoder may not be patched"),
        ("command", "mine", 'study.yaml:9:12: deployer.command: must be "engine" or "runtime"'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(place: str, value: str, told: str) -> None:
    assert told in faults(**{place: value})


def test_a_command_that_would_not_be_run_is_told() -> None:
    engine = "{kind: vllm, version: 0.33.0, command: [my-vllm]}"
    assert "engine.command: the runtime's own command is run" in faults(engine=engine, command="runtime")
