"""`vllm bench serve`, as a subprocess: a process for each load level of a trial, on the one warm server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import ClassVar, Self, cast

from pydantic import BaseModel, model_validator

from optuna_tuner.benchmarks import probes, scenarios, statistics
from optuna_tuner.benchmarks.client_options import ClientOptions
from optuna_tuner.benchmarks.client_process import fresh_folder
from optuna_tuner.benchmarks.http import Http
from optuna_tuner.benchmarks.level_client import REPORT, Level
from optuna_tuner.benchmarks.scenarios import Scenario
from optuna_tuner.benchmarks.vllm_bench_report import Report
from optuna_tuner.client_site import Program
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.load_range import LoadRange
from optuna_tuner.other_programs import VLLM, offline
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.values import Endpoint, Load, LoadKind, Measurement

NAME = "vllm bench serve"
CHAT = "/v1/chat/completions"
PROGRESS = re.compile(r"(\d+)/\d+ \[")  # of tqdm
OWN_PREFIX = 8  # tokens
HAIR = 1e-6  # of a token: what rounding up and down must not go beyond
HIGHEST_SEED = 2**32  # numpy takes no higher one


class VllmBenchOptions(ClientOptions):
    """Options of `benchmark: {kind: vllm_bench}`."""

    reserved: ClassVar[frozenset[str]] = frozenset(
        {
            *("--backend", "--base-url", "--endpoint", "--host", "--port", "--model", "--tokenizer", "--header"),
            *("--dataset-name", "--dataset-path", "--input-len", "--output-len", "--num-prompts", "--seed"),
            *("--random-input-len", "--random-output-len", "--random-prefix-len", "--random-range-ratio"),
            *("--max-concurrency", "--request-rate", "--burstiness", "--num-warmups", "--extra-body"),
            *("--save-result", "--save-detailed", "--append-result", "--result-dir", "--result-filename"),
            *("--percentile-metrics", "--metric-percentiles", "--disable-tqdm", "--ready-check-timeout-sec"),
        }
    )

    @model_validator(mode="after")
    def _draws_it(self) -> Self:
        for text in self.scenario:
            if scenarios.parse(text).input.form == "N":
                refuse([Misfit(("scenario",), f"vllm bench serve draws no normal lengths: use D or U, not {text}")])
        return self


class VllmBench(Benchmark):
    """Loads the server with `vllm bench serve` and reads its per-request records. Held against vLLM 0.32.0."""

    kind: ClassVar[str] = "vllm_bench"
    summary: ClassVar[str] = "`vllm bench serve`, of an installed vLLM: closed or open loop, per-request reports"
    Options: ClassVar[type[BaseModel]] = VllmBenchOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = cast("VllmBenchOptions", options)

    def metrics(self) -> frozenset[str]:
        """The whole vocabulary; where the load is searched, what it is called, too."""
        sought = self.searched()
        return statistics.DELIVERED | ({sought.metric} if sought else set())

    def loads(self) -> tuple[Load, ...]:
        """Scenario by scenario, in the order of the options, round after round."""
        return self._options.loads()

    def searched(self) -> LoadRange | None:
        """As the options say."""
        return self._options.searched()

    def mean_tokens(self) -> tuple[int, int]:
        """Over all scenarios."""
        return scenarios.mean_tokens(self._options.scenario)

    def missing(self) -> str | None:
        """How to get vLLM; None when it is there."""
        return VLLM.missing(self._options.executable)

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Send `warm_up_requests` of the first scenario with the built-in client, which starts at once."""
        probes.warm_up(target, self._options.scenario[0], self._options.warm_up_requests, deadline)

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """Each level is a process of its own, with prompts of its own."""
        program = VLLM.demanded(self._options.executable)
        for load in self.loads():
            folder = fresh_folder(target.folder / "benchmark", "vllm-bench")
            yield self.level(target, load, program, folder).measure(target, deadline)

    def level(self, target: Target, load: Load, program: Path, folder: Path) -> Level:
        """What is started for a level."""
        scenario = scenarios.parse(load.scenario)
        highest = int(scenarios.COUNTED_ANEW * scenario.output.highest)
        return Level(
            name=NAME,
            program=Program(
                argv=(str(program), *self.arguments(target, load, folder), *self._options.extra_args),
                env=_environment(target.endpoint),
            ),
            folder=folder,
            load=load,
            requests=self._options.requests,
            most_tokens=scenarios.most_tokens(highest, self._options.additional_params),
            declared=statistics.DELIVERED,
            read=lambda report, epoch_s: Report.read(report).told(load, epoch_s),
            progress=PROGRESS,
        )

    def arguments(self, target: Target, load: Load, folder: Path) -> tuple[str, ...]:
        """Its command line: no key is in it. Each run has a seed, and so prompts, of its own."""
        seed = Random(f"{target.seed} {folder.name}").randrange(HIGHEST_SEED)  # noqa: S311  prompts are no secret
        body = {"temperature": 0.0, **self._options.additional_params}
        return (
            *("bench", "serve", "--backend", "openai-chat", "--endpoint", CHAT),
            *("--base-url", target.endpoint.url.rstrip("/").removesuffix("/v1"), "--model", target.endpoint.model),
            *("--tokenizer", target.model.tokenizer, "--dataset-name", "random", "--seed", str(seed)),
            *_lengths(scenarios.parse(load.scenario)),
            *("--num-prompts", str(self._options.requests), *_arrival(load), "--ready-check-timeout-sec", "0"),
            *("--ignore-eos", "--extra-body", json.dumps(body)),
            *("--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result", "--save-detailed"),
            *("--result-dir", str(folder), "--result-filename", REPORT),
        )

    def probe(self, target: Target, loads: Iterable[Load], deadline: Deadline) -> Iterator[Measurement]:
        """By the built-in client, which starts at once; the figures are vLLM's, at the load that is found."""
        for found in Http(self._options.probing()).probe(target, loads, deadline):
            yield replace(found, probe=True)

    def report(self, target: Target, load: Load, deadline: Deadline) -> Measurement | None:
        """One level of `vllm bench serve`."""
        return next(iter(VllmBench(self._options.at(load)).run(target, deadline)))


def _arrival(load: Load) -> tuple[str, ...]:
    if load.kind is LoadKind.CONCURRENCY:
        return ("--max-concurrency", str(int(load.value)))
    evenly = ("--burstiness", "inf") if load.kind is LoadKind.CONSTANT_RATE else ()
    return ("--request-rate", str(load.value), *evenly)


def _lengths(scenario: Scenario) -> tuple[str, ...]:
    """Its random prompts are runs through the vocabulary in its order, which two runs can begin at one place.

    A beginning of their own keeps the prompts of two runs apart for a server's prefix cache.
    """
    prefix = min(OWN_PREFIX, scenario.input.a - 1)
    mean_in, spread_in = _around(scenario.input.a - prefix, scenario.input.b - prefix)
    mean_out, spread_out = _around(scenario.output.a, scenario.output.b)
    spread = json.dumps({"input": spread_in, "output": spread_out})
    lengths = ("--random-prefix-len", str(prefix), "--random-input-len", str(mean_in))
    drawn = ("--random-range-ratio", spread) if spread_in or spread_out else ()
    return (*lengths, "--random-output-len", str(mean_out), *drawn)


def _around(low: int, high: int) -> tuple[int, float]:
    """Mean and share of it from which vLLM makes the range: it rounds the low end down and the high end up.

    A range whose middle lies between two whole numbers ends one token sooner.
    """
    mean = (low + high) // 2
    return mean, max(0.0, mean - low - HAIR) / mean


def _environment(endpoint: Endpoint) -> Mapping[str, str]:
    """The server's key travels here: a command line is seen by all. Another server's is not told to this one."""
    key = os.environ.get(endpoint.key_variable, "") if endpoint.key_variable else ""
    quiet = {"VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false", "NO_PROXY": "*"}
    return {**offline(), **quiet, "OPENAI_API_KEY": key}
