"""What each deployer sends for each engine, byte by byte. `python tests/golden/test_requests.py` writes the files anew.

Each study is read, planned and rendered as `optuna-tuner plan` does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from pydantic import JsonValue

from optuna_tuner.contracts import Deployer
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study
from optuna_tuner.tuning.model import model_paths
from optuna_tuner.tuning.plan import plan
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Params, Slot

FOLDER = Path(__file__).parent / "requests"
LEAST = 30
LABELS = {"study": "STUDY", "attempt": "ATTEMPT", "worker": "WORKER"}
MODEL = "/models/llama"


class Server(NamedTuple):
    """An engine, and one configuration of it."""

    engine: dict[str, JsonValue]
    flags: dict[str, JsonValue]
    gpus: int


SERVERS: Mapping[str, Server] = {
    "vllm": Server(
        {
            "kind": "vllm",
            "version": "0.33.0",
            "image": "vllm/vllm-openai:v0.33.0",
            "flags": {"tensor_parallel_size": 2, "compilation_config": {"mode": 3}},
            "env": {"VLLM_LOGGING_LEVEL": "INFO"},
            "secrets": {"HF_TOKEN": {"env": "MY_TOKEN"}},
        },
        {"max_num_seqs": 256, "enable_prefix_caching": False},
        2,
    ),
    "sglang": Server(
        {"kind": "sglang", "version": "0.5.23", "image": "lmsysorg/sglang:v0.5.23", "flags": {"tp_size": 2}},
        {"mem_fraction_static": 0.85, "disable_radix_cache": True},
        2,
    ),
    "llama_cpp": Server(
        {"kind": "llama_cpp", "command": ["/app/llama-server"], "image": "ghcr.io/ggml-org/llama.cpp:server"},
        {"parallel": 8, "flash_attn": True},
        0,
    ),
}
# By deployer: what a study says at least, and all kinds of things that it may say. GPUS stands for the server's.
SAID: Mapping[str, Mapping[str, dict[str, JsonValue]]] = {
    "local": {"plain": {}, "full": {"cwd": "/srv", "inherit_env": ["MY_LAB_*"], "ports": [21000, 21009], "grace_s": 3}},
    "docker": {
        "plain": {},
        "full": {
            "network": "models",
            "memory": "64g",
            "shm_size": "512m",
            "user": "1000:1000",
            "mounts": [{"source": "/srv/adapters", "target": "/adapters"}],
            "cap_add": ["SYS_NICE"],
            "ulimits": {"memlock": -1},
        },
    },
    "kubernetes": {
        "plain": {"gpus": "GPUS"},
        "full": {
            "gpus": "GPUS",
            "namespace": "bench",
            "reach": "service",
            "memory": "128Gi",
            "volumes": [{"claim": "models", "target": "/models"}],
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "labels": {"team": "serving"},
            "patch": {"spec": {"template": {"spec": {"hostIPC": True}}}},
        },
    },
    "ome": {
        "plain": {
            "clusterbasemodel_config": {"name": "llama"},
            "clusterservingruntime_config": {"name": "theirs"},
            "gpus": "GPUS",
        },
        "runtime": {
            "clusterbasemodel_config": {"name": "llama"},
            "clusterservingruntime_config": {"name": "theirs"},
            "gpus": "GPUS",
            "port": 30000,
            "namespace": "bench",
            "labels": {"team": "serving"},
            "annotations": {"note": "a trial"},
            "patch": {"spec": {"engine": {"nodeSelector": {"gpu": "h100"}}}},
        },
    },
    "slurm": {
        "plain": {"gpus_per_node": "GPUS"},
        "full": {
            "gpus_per_node": "GPUS",
            "host": "me@login1",
            "partition": "main",
            "mem": "64G",
            "modules": ["cuda/12.4"],
            "cwd": "/scratch/my runs",
            "apptainer": {"image": "/images/server.sif", "binds": ["/models"]},
        },
    },
}
# Load clients in the cluster: where, and which program.
CLIENTS: Mapping[str, tuple[dict[str, JsonValue], dict[str, JsonValue]]] = {
    "kubernetes.load-client.genai_bench": (
        {
            "kind": "kubernetes",
            "gpus": 2,
            "namespace": "bench",
            "load_client": {
                "image": "registry:5000/genai-bench:0.0.5",
                "cpu": "4",
                "volumes": [{"claim": "models", "target": "/models"}],
                "node_selector": {"pool": "cpu"},
                "patch": {"spec": {"template": {"spec": {"priorityClassName": "low"}}}},
            },
        },
        {
            "kind": "genai_bench",
            "scenario": "D(64,32)",
            "concurrency": [1, 8],
            "additional_params": {"ignore_eos": True, "stop": ["$(HOME)"]},
        },
    ),
    "ome.load-client.script": (
        {
            "kind": "ome",
            "clusterbasemodel_config": {"name": "llama"},
            "clusterservingruntime_config": {"name": "theirs"},
            "gpus": 2,
            "reach": "service",
            "load_client": {
                "image": "registry:5000/ours:1",
                "volumes": [{"claim": "models", "target": "/models"}],
                "env": {"HF_HOME": "/models/hub"},
            },
        },
        {"kind": "script", "command": ["measure", "{url}", "{folder}", "{load}"], "metrics": ["own_score"]},
    ),
    "ome.benchmark-job.genai_bench": (
        {
            "kind": "ome",
            "clusterbasemodel_config": {"name": "llama"},
            "clusterservingruntime_config": {"name": "theirs"},
            "gpus": 2,
            "benchmark_job": {
                "claim": "results",
                "reader_image": "python:3.12-slim",
                "image": "registry:5000/genai-bench:0.0.5",
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            },
        },
        {"kind": "genai_bench", "scenario": ["D(64,32)", "N(480,240)/(300,150)"], "concurrency": [1, 8]},
    ),
}
# Studies of presets: one model and one runtime each, as they are made where they are not there.
PRESETS: Mapping[str, tuple[str, str, str, int]] = {
    "sglang-small": ("sglang", "llama-3-2-1b", "sglang-llama-small", 1),
    "sglang-mistral": ("sglang", "mistral-7b", "sglang-llama-small", 1),
    "sglang-large": ("sglang", "llama-3-1-70b", "sglang-llama-large", 4),
    "sglang-moe": ("sglang", "mixtral-8x7b", "sglang-mixtral-moe", 2),
    "vllm-small": ("vllm", "llama-3-2-3b", "vllm-llama-small", 1),
    "vllm-large": ("vllm", "llama-3-3-70b", "vllm-llama-large", 4),
}


def deployer(kind: str, said: Mapping[str, JsonValue], gpus: int) -> dict[str, JsonValue]:
    known: dict[str, JsonValue] = {name: gpus if value == "GPUS" else value for name, value in said.items()}
    if known.get("gpus_per_node") == gpus:
        known = {name: value for name, value in known.items() if name != "gpus_per_node"}
        known |= {"gpus_per_node": str(gpus)} if gpus else {}
    return {"kind": kind, **known}


def study(server: Server, deployer: dict[str, JsonValue], model: dict[str, JsonValue]) -> dict[str, JsonValue]:
    space: JsonValue = {name: {"type": "choice", "choices": [value]} for name, value in server.flags.items()}
    return {
        "name": "golden",
        "model": model,
        "engine": server.engine,
        "deployer": deployer,
        "benchmark": {"kind": "http", "scenario": "D(64,32)", "concurrency": [1]},
        "space": space,
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
    }


def studies() -> Iterator[tuple[str, dict[str, JsonValue], Server]]:
    here: dict[str, JsonValue] = {"name": "llama", "path": MODEL}
    for kind, ways in SAID.items():
        for way, said in ways.items():
            for name, server in SERVERS.items():
                own = deployer(kind, said, server.gpus)
                if way == "runtime" and "command" not in server.engine:
                    own["command"] = "runtime"
                yield f"{kind}.{way}.{name}", study(server, own, here), server
    for name, (engine, model, runtime, gpus) in PRESETS.items():
        tp = "tp_size" if engine == "sglang" else "tensor_parallel_size"
        known = SERVERS[engine]
        image = {key: value for key, value in known.engine.items() if key not in {"image", "secrets"}}
        server = Server({**image, "flags": {tp: gpus}}, known.flags, gpus)
        own = {"kind": "ome", "clusterbasemodel_config": {"preset": model}}
        yield (
            f"ome.{name}",
            study(
                server, {**own, "clusterservingruntime_config": {"preset": runtime}}, {"name": model, "path": "hub/id"}
            ),
            server,
        )


def load_clients() -> Iterator[tuple[str, str]]:
    """As `plan` shows them; the files that they read are only named."""
    for name, (where, program) in CLIENTS.items():
        server, metric = SERVERS["vllm"], "own_score" if program["kind"] == "script" else "output_throughput_tok_s"
        called = "vllm-model" if "benchmark_job" in where else "llama"
        document = study(server, where, {"name": called, "path": MODEL}) | {"benchmark": program}
        document["goals"] = {"objectives": [{"metric": metric, "direction": "maximize"}]}
        spec = parse_study(json.dumps(document), f"{name}.json", InstalledKinds())
        slot = Slot(name="slot-0", host="here", gpus=("GPU-0", "GPU-1"), elsewhere=True)
        client = plan(spec, assemble(spec, InstalledKinds()), model_paths(spec.model), [slot]).load_client
        assert client is not None
        for files in cast("list[dict[str, dict[str, str]]]", client.body.get("owned", [])):
            files["data"] = dict.fromkeys(files["data"], "...")
        yield f"{name}.json", f"{json.dumps(asdict(client), indent=1, ensure_ascii=False)}\n"


@cache
def requests() -> Mapping[str, str]:
    """Each request, as JSON, by its file's name."""
    found = {}
    for name, document, server in studies():
        spec = parse_study(json.dumps(document), f"{name}.json", InstalledKinds())
        parts = assemble(spec, InstalledKinds())
        gpus = tuple(f"GPU-{place}" for place in range(server.gpus))
        slot = Slot(name="slot-0", host="here", gpus=gpus, elsewhere=not parts.deployer.host_bound)
        params = Params(
            flags={key: value for key, value in server.flags.items() if isinstance(value, bool | int | float)}
        )
        launch = parts.engine.render(model_paths(spec.model), params, slot)
        request = parts.deployer.render(launch, "tuner-a1", LABELS, slot)
        found[f"{name}.json"] = f"{json.dumps(asdict(request), indent=1, ensure_ascii=False)}\n"
    return {**found, **dict(load_clients())}


@pytest.mark.parametrize("name", [*(name for name, _, _ in studies()), *CLIENTS])
def test_what_is_sent_is_what_was_agreed(name: str) -> None:
    assert requests()[f"{name}.json"] == (FOLDER / f"{name}.json").read_text(encoding="utf-8")


def test_every_deployer_has_its_requests_and_they_are_many() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(requests())
    assert len(requests()) >= LEAST
    kinds = InstalledKinds()
    plugins = {kind: kinds.plugin("deployers", kind) for kind in kinds.names("deployers")}
    starters = {kind for kind, each in plugins.items() if issubclass(each, Deployer) and not each.runs_already}
    assert {name.partition(".")[0] for name in requests()} == starters


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for file, text in requests().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
