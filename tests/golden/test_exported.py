"""Each format for each engine, byte by byte. `python tests/golden/test_exported.py` writes the files anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # so that it runs as a script too

from take_home import TWO_CORES, TWO_GPUS, ended_study, export

from optuna_tuner.results.export import Export, Format
from optuna_tuner.results.views import StudyView
from optuna_tuner.values import Params

FOLDER = Path(__file__).parent / "exported"
ENDINGS = {
    Format.SHELL: "shell.sh",
    Format.DOCKER: "docker.sh",
    Format.COMPOSE: "compose.yaml",
    Format.KUBERNETES: "kubernetes.yaml",
    Format.HELM_VALUES: "helm-values.yaml",
    Format.OME: "ome.yaml",
    Format.SBATCH: "sbatch",
    Format.VLLM_CONFIG: "vllm-config.yaml",
    Format.JSON: "export.json",
}


def vllm() -> StudyView:
    return ended_study(
        {
            "kind": "vllm",
            "version": "0.32.0",
            "image": "vllm/vllm-openai:v0.32.0",
            "flags": {"dtype": "bfloat16", "hf_overrides": {"rope": "it's"}},
            "env": {"VLLM_LOGGING_LEVEL": "INFO"},
            "secrets": {"HF_TOKEN": {"env": "MY_TOKEN"}},
        },
        Params(
            flags={"tensor_parallel_size": 2, "max_num_seqs": 256, "enable_prefix_caching": False},
            env={"VLLM_USE_FLASHINFER_SAMPLER": "1"},
        ),
        TWO_GPUS,
    )


def sglang() -> StudyView:
    return ended_study(
        {"kind": "sglang", "version": "0.5.23", "image": "lmsysorg/sglang:v0.5.23"},
        Params(flags={"tp_size": 2, "mem_fraction_static": 0.85, "disable_radix_cache": True}),
        TWO_GPUS,
        deployer={
            "kind": "docker",
            "network": "models",
            "memory": "64g",
            "shm_size": "512m",
            "user": "1000:1000",
            "mounts": [{"source": "/srv/adapters, new", "target": "/adapters"}],
            "cap_add": ["SYS_NICE"],
            "ulimits": {"memlock": -1},
        },
        quality={},
        confirm={"pairs": 3},
    )


def llama_cpp() -> StudyView:
    return ended_study(
        {
            "kind": "llama_cpp",
            "command": ["/app/llama-server"],
            "image": "ghcr.io/ggml-org/llama.cpp:server",
            "flags": {"ctx_size": 8192},
        },
        Params(flags={"parallel": 8, "flash_attn": True, "cont_batching": False}),
        TWO_CORES,
        deployer={
            "kind": "slurm",
            "host": "me@login1",
            "partition": "main",
            "gres": "gpu:h100:1",
            "mem": "64G",
            "modules": ["cuda/12.4"],
            "cwd": "/scratch/my runs",
            "apptainer": {"binds": ["/models"]},
        },
    )


def pods() -> StudyView:
    """A study that was measured on Kubernetes, under a name that is none there."""
    return ended_study(
        {"kind": "vllm", "image": "vllm/vllm-openai:v0.32.0", "secrets": {"HF_TOKEN": {"env": "MY_TOKEN"}}},
        Params(flags={"tensor_parallel_size": 2}),
        TWO_GPUS,
        name="7 Small.Models_" + "x" * 60,
        deployer={
            "kind": "kubernetes",
            "namespace": "bench",
            "reach": "service",
            "gpus": 2,
            "memory": "128Gi",
            "volumes": [{"claim": "models", "target": "/models"}],
            "node_selector": {"gpu": "h100"},
            "labels": {"team": "serving"},
            "patch": {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "busybox"}]}}}},
        },
    )


def services() -> StudyView:
    """A study that was measured on OME, with a runtime of its own."""
    return ended_study(
        {"kind": "vllm", "version": "0.33.0", "secrets": {"HF_TOKEN": {"env": "MY_TOKEN"}}},
        Params(flags={"max_num_seqs": 256}),
        TWO_GPUS,
        deployer={
            "kind": "ome",
            "namespace": "bench",
            "labels": {"team": "serving"},
            "clusterbasemodel_config": {"preset": "llama-3-2-1b"},
            "clusterservingruntime_config": {
                "preset": "vllm-llama-small",
                "name": "ours",
                "labels": {"team": "serving"},
            },
        },
    )


ENGINES = {"vllm": vllm, "sglang": sglang, "llama_cpp": llama_cpp, "pods": pods, "services": services}


def is_written(engine: str, form: Format) -> bool:
    if engine == "services":
        return form is Format.OME
    if engine == "pods":
        return form in {Format.KUBERNETES, Format.HELM_VALUES}
    if form is Format.OME:
        return False
    return form not in {Format.VLLM_CONFIG, Format.HELM_VALUES} or engine == "vllm"


CASES = [(name, form) for name in ENGINES for form in Format if is_written(name, form)]


def path(engine: str, form: Format) -> Path:
    return FOLDER / f"{engine}.{ENDINGS[form]}"


def text(engine: str, form: Format) -> str:
    return export(ENGINES[engine](), Export(form=form))


@pytest.mark.parametrize(("engine", "form"), CASES)
def test_what_is_exported_is_what_was_agreed(engine: str, form: Format) -> None:
    assert text(engine, form) == path(engine, form).read_text(encoding="utf-8")


def test_there_is_no_file_too_many() -> None:
    assert {each.name for each in FOLDER.iterdir()} == {path(*case).name for case in CASES}


if __name__ == "__main__":
    for case in CASES:
        path(*case).write_text(text(*case), encoding="utf-8")
