"""The command line of genai-bench 0.0.5, wherever it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from optuna_tuner.benchmarks import prompts
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.client_site import Program, Vantage
from optuna_tuner.contracts import Target
from optuna_tuner.other_programs import GENAI_BENCH, OFFLINE, offline

NAME = GENAI_BENCH.name
_PROMPTS = "prompts.json"
_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "ENABLE_UI": "false",  # its live screen costs CPU
    "GENAI_BENCH_LOGGING_LEVEL": "DEBUG",  # the only place where it tells when each request started and ended
    "MPLBACKEND": "Agg",
    "NO_PROXY": "*",
}


def program_of(options: GenaiBenchOptions, target: Target, seen: Vantage, run: str, executable: str) -> Program:
    """All levels of one round; `run` is the name of its folder, by which its prompts are its own.

    It adds /v1 to the base URL by itself; the key is a word that it insists on, no secret.
    """
    pairs = [
        ("--api-backend", "vllm"),
        ("--api-base", seen.url.rstrip("/").removesuffix("/v1")),
        ("--api-key", "none"),
        ("--api-model-name", target.endpoint.model),
        ("--model", target.model.name),
        ("--model-tokenizer", target.model.tokenizer),
        ("--task", options.task),
        *(("--traffic-scenario", text) for text in options.scenario),
        *(("--num-concurrency", str(value)) for value in options.users),
        ("--max-time-per-run", str(options.minutes)),
        ("--max-requests-per-run", str(options.requests)),
        ("--dataset-path", f"{seen.folder}/{_PROMPTS}"),
        ("--additional-request-params", json.dumps(dict(options.additional_params))),
        ("--experiment-base-dir", seen.folder),
        ("--experiment-folder-name", "report"),
        ("--log-dir", seen.folder),
    ]
    argv = (executable, "benchmark", *(word for pair in pairs for word in pair))
    files = {_PROMPTS: prompts.lines_of(f"{target.seed} {run}")}
    return Program(argv=argv, env={**_offline(target, seen), **_ENVIRONMENT}, files=files)


def _offline(target: Target, seen: Vantage) -> Mapping[str, str]:
    """Here nothing is fetched unless the user has said so; a pod has nothing but what it is given, or fetches."""
    if not seen.elsewhere:
        return offline()
    return OFFLINE if PurePosixPath(target.model.tokenizer).is_absolute() else {}
