"""guidellm, as a subprocess: a process for each load level of a trial, on the one warm server."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import ClassVar, cast

from pydantic import BaseModel, Field

from optuna_tuner.benchmarks import probes, prompts, scenarios, statistics
from optuna_tuner.benchmarks.client_options import ClientOptions
from optuna_tuner.benchmarks.client_process import fresh_folder
from optuna_tuner.benchmarks.guidellm_report import Report
from optuna_tuner.benchmarks.http import Http
from optuna_tuner.benchmarks.level_client import REPORT, Level
from optuna_tuner.client_site import Program
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.load_range import LoadRange
from optuna_tuner.other_programs import GUIDELLM, offline
from optuna_tuner.values import Endpoint, Json, Load, LoadKind, Measurement

DECLARED = statistics.DELIVERED - statistics.ITL
PROGRESS = re.compile(r"successful=(\d+)")
PROMPTS, SETTINGS, CACHE = "prompts.jsonl", "run.json", "cache"
KEY = "GUIDELLM__SPEC__BACKEND__API_KEY"
SPARE = 2  # times as many prompts as requests: it must not come to the end of them


class GuidellmOptions(ClientOptions):
    """Options of `benchmark: {kind: guidellm}`."""

    reserved: ClassVar[frozenset[str]] = frozenset(
        {"--config", "--scenario", "-c", "--profile", "--constraint", "--data", "--output", "--metrics", "--override"}
    )

    max_time_s: float = Field(
        default=600, gt=0, description="Time limit of a level. Requests that are then under way are cut off."
    )


class Guidellm(Benchmark):
    """Loads the server with guidellm 0.8.1 and reads its per-request records."""

    kind: ClassVar[str] = "guidellm"
    summary: ClassVar[str] = "guidellm 0.8.1, in an environment of its own: closed or open loop, per-request reports"
    Options: ClassVar[type[BaseModel]] = GuidellmOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = cast("GuidellmOptions", options)

    def metrics(self) -> frozenset[str]:
        """The whole vocabulary but inter-token latency: it keeps the first and the last token of a request only."""
        sought = self.searched()
        return DECLARED | ({sought.metric} if sought else set())

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
        """How to get guidellm; None when it is there."""
        return GUIDELLM.executable().missing(self._options.executable)

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Send `warm_up_requests` of the first scenario with the built-in client, which starts at once."""
        probes.warm_up(target, self._options.scenario[0], self._options.warm_up_requests, deadline)

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """Each level is a process of its own, with prompts of its own."""
        program = GUIDELLM.executable().demanded(self._options.executable)
        scale = Http(self._options.probing()).calibrate(target, deadline)
        for load in self.loads():
            folder = fresh_folder(target.folder / "benchmark", GUIDELLM.name)
            try:
                yield self.level(target, load, program, folder, scale).measure(target, deadline)
            finally:
                shutil.rmtree(folder / CACHE, ignore_errors=True)

    def level(self, target: Target, load: Load, program: Path, folder: Path, scale: prompts.Scale) -> Level:
        """What is started for a level: its prompts are those that `http` would send."""
        options = self._options
        texts = prompts.prompts(scenarios.parse(load.scenario), scale, f"{target.seed} {folder.name}")
        rows = ({"prompt": each.text, "output_tokens_count": each.output_tokens} for each in texts)
        lines = (json.dumps(row) + "\n" for row in islice(rows, SPARE * options.requests))
        settings = json.dumps({"spec": self.settings(target, load, folder)})
        argv = (str(program), "run", "--config", str(folder / SETTINGS), "--disable-console-interactive")
        return Level(
            name=GUIDELLM.name,
            program=Program(
                argv=(*argv, *options.extra_args),
                env=_environment(target.endpoint, folder),
                files={PROMPTS: "".join(lines), SETTINGS: settings},
            ),
            folder=folder,
            load=load,
            requests=options.requests,
            most_tokens=scenarios.most_tokens(scenarios.parse(load.scenario).output.highest, options.additional_params),
            declared=DECLARED,
            read=lambda report, _: Report.read(report).told(load),
            progress=PROGRESS,
            max_time_s=options.max_time_s,
        )

    def settings(self, target: Target, load: Load, folder: Path) -> Mapping[str, Json]:
        """The level in guidellm's words. The key of the server is not among them."""
        closed = load.kind is LoadKind.CONCURRENCY
        arrival = "poisson" if load.kind is LoadKind.REQUEST_RATE else "constant"
        return {
            "backend": {
                "kind": "openai_http",
                "target": target.endpoint.url,
                "model": target.endpoint.model,
                "verify": True,  # by itself it would give the key to anybody
                "validate_backend": False,  # a gateway need not have a /health
                "extras": {"body": {"temperature": 0.0, **self._options.additional_params}},
            },
            "profile": {"kind": "concurrent", "streams": [int(load.value)]}
            if closed
            else {"kind": arrival, "rate": [load.value]},
            "constraints": [
                {"kind": "max_requests", "count": self._options.requests},
                {"kind": "max_duration", "seconds": self._options.max_time_s},
            ],
            "tokenizer": {"kind": "huggingface_auto", "model": target.model.tokenizer},
            "data": [{"kind": "json_file", "path": str(folder / PROMPTS)}],
            "seed": {"kind": "static", "value": target.seed},
            "outputs": [{"kind": "json", "path": str(folder / REPORT)}],
            "metrics": {"kind": "generative", "sample_size": 0},  # no texts in the report
        }

    def probe(self, target: Target, loads: Iterable[Load], deadline: Deadline) -> Iterator[Measurement]:
        """By the built-in client, which starts at once; the figures are guidellm's, at the load that is found."""
        for found in Http(self._options.probing()).probe(target, loads, deadline):
            yield replace(found, probe=True)

    def report(self, target: Target, load: Load, deadline: Deadline) -> Measurement | None:
        """One level of guidellm."""
        return next(iter(Guidellm(self._options.at(load)).run(target, deadline)))


def _environment(endpoint: Endpoint, folder: Path) -> Mapping[str, str]:
    """The server's key travels here: a command line is seen by all, and a file would outlive the trial."""
    key = {KEY: os.environ.get(endpoint.key_variable, "")} if endpoint.key_variable else {}
    cache = {"HF_DATASETS_CACHE": str(folder / CACHE)}
    return {**offline(), "TOKENIZERS_PARALLELISM": "false", "NO_PROXY": "*", **cache, **key}
