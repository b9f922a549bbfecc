"""What is sent for a load client as OME's BenchmarkJob, made by a pure function of genai-bench's command line.

OME makes a command line of its own: what it has a place for is carried over, what it gives to nobody is refused, and
what it sets itself is left to it (https://github.com/sgl-project/ome, pkg/controller/v1beta1/benchmark).
"""

from __future__ import annotations

from collections import defaultdict

from optuna_tuner.client_site import Program
from optuna_tuner.deployers.kubernetes_request import MODEL_NOTE, literal, ours
from optuna_tuner.deployers.load_client.request import SERVER_LABEL, Loaded
from optuna_tuner.deployers.ome.benchmark_options import BenchmarkJobOptions
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json

RESOURCE = "benchmarkjobs"
CONTAINER = "genai-bench"  # what OME calls it as soon as anything of its pod is overridden
POD_LABEL = "benchmark"  # which OME gives to the pod, with the BenchmarkJob's name
OME_S_MODEL = "vllm-model"  # what a BenchmarkJob calls every model in its requests
_SCENARIOS, _USERS = "--traffic-scenario", "--num-concurrency"
_PLACES = {"--task": "task"}
_COUNTS = {"--max-time-per-run": "maxTimePerIteration", "--max-requests-per-run": "maxRequestsPerIteration"}
# Set by OME: where the server is, what it is called, its tokenizer, where the report goes. There is no place for the
# prompts and for the log, in which genai-bench tells when each request began.
_OF_OME = frozenset(
    {"--api-backend", "--api-base", "--api-key", "--api-model-name", "--model", "--model-tokenizer"}
    | {"--experiment-base-dir", "--experiment-folder-name", "--dataset-path", "--log-dir"}
)
_PARAMS = "--additional-request-params"


def job_of(program: Program, run: str, server: Loaded, options: OmeOptions) -> dict[str, Json]:
    """One run of genai-bench as a BenchmarkJob. Raises DeployerError for what it cannot be told."""
    said = options.benchmark_job
    if said is None:
        raise DeployerError("the study says nothing of a BenchmarkJob (deployer.benchmark_job)")
    name = f"{server.name}-{run}"
    labels = {**ours(name, server.labels, options.labels), SERVER_LABEL: server.name}
    notes: Json = {**options.annotations, MODEL_NOTE: server.model}
    return {
        "apiVersion": "ome.io/v1beta1",
        "kind": "BenchmarkJob",
        "metadata": {
            "name": name,  # one that is there is never changed by OME: each run has a new one
            "namespace": options.namespace,
            "labels": labels,
            "annotations": notes,
            "ownerReferences": [dict(server.owner)],
        },
        "spec": {
            "endpoint": {"inferenceService": {"name": server.name, "namespace": options.namespace}},
            **_told(program),
            "outputLocation": {"storageUri": f"pvc://{said.claim}/{said.folder}"},
            "resultFolderName": name,  # OME's own would hold the time of day
            "podOverride": _pod(program, said),
        },
    }


def _told(program: Program) -> dict[str, Json]:
    """What of the command line a BenchmarkJob has a place for."""
    words: dict[str, list[str]] = defaultdict(list)
    for name, value in zip(program.argv[2::2], program.argv[3::2], strict=True):
        words[name].append(value)
    unknown = words.keys() - {_SCENARIOS, _USERS, _PARAMS, *_PLACES, *_COUNTS, *_OF_OME}
    if program.argv[1:2] != ("benchmark",) or unknown:
        raise DeployerError(f"a BenchmarkJob runs genai-bench alone, and cannot be told {' '.join(sorted(unknown))}")
    if any(value != "{}" for value in words[_PARAMS]):
        raise DeployerError("OME gives the request parameters of a BenchmarkJob to nobody")
    return {
        **{place: words[name][0] for name, place in _PLACES.items()},
        "trafficScenarios": list[Json](words[_SCENARIOS]),
        "numConcurrency": [int(value) for value in words[_USERS]],
        **{place: int(words[name][0]) for name, place in _COUNTS.items()},
    }


def _pod(program: Program, said: BenchmarkJobOptions) -> dict[str, Json]:
    """Never empty: then OME would give the container another name."""
    env = {**program.env, **said.env}
    resources: Json = {"cpu": said.cpu, "memory": said.memory}
    pod: dict[str, Json] = {
        "image": said.image,
        "env": [{"name": name, "value": literal(value)} for name, value in env.items()],
        "resources": {"requests": resources, "limits": resources},
        "tolerations": [each.said for each in said.tolerations],
        "nodeSelector": dict[str, Json](said.node_selector),
    }
    return {name: value for name, value in pod.items() if value not in (None, [], {})}
