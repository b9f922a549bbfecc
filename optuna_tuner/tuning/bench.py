"""A benchmark is a study of one configuration: the default's trial alone, of a study whose space is empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import JsonValue

from optuna_tuner.errors import Fault, SpecError
from optuna_tuner.metrics import SUSTAINED
from optuna_tuner.spec.goals import Constraint, Goals, Objective
from optuna_tuner.spec.study import Part, StudySpec
from optuna_tuner.values import Scalar

THROUGHPUT = Objective(metric="output_throughput_tok_s", direction="maximize")
NAME_LENGTH = 100
OPEN_LOOP = ("guidellm", "http", "vllm_bench")  # the load clients that know rates
ANSWERS_S = 60.0  # for a server that answered a moment ago
Options = Mapping[str, JsonValue]

RECIPES: Mapping[str, Options] = MappingProxyType(
    {
        "quick": {"scenario": ["D(128,64)"], "concurrency": [1, 4, 16], "requests": 32, "warm_up_requests": 4},
        "standard": {
            "scenario": ["D(256,128)"],
            "concurrency": [1, 2, 4, 8, 16, 32, 64],
            "requests": 100,
            "repeat": 2,
            "warm_up_requests": 16,
        },
        "sizes": {
            "scenario": ["D(128,128)", "D(512,128)", "D(2048,128)", "D(512,512)"],
            "concurrency": [1, 8, 32],
            "requests": 64,
            "repeat": 2,
            "warm_up_requests": 16,
        },
        "rates": {
            "scenario": ["D(256,128)"],
            "request_rate": [0.5, 1, 2, 4, 8],
            "requests": 120,
            "repeat": 2,
            "warm_up_requests": 16,
        },
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to measure.

    Attributes:
        name: of the benchmark; "": made of the study's or the model's.
        recipe: a key of RECIPES; "": the study file's own load, or the quick one.
        load: options of the load client that go over the recipe's.
        client: the kind of the load client; "": the study file's own, or `http`.
        flags: of the server, beside the study's fixed ones and over them.
        slo: bounds that each load must keep.

    """

    name: str = ""
    recipe: str = ""
    load: Options = field(default_factory=dict)
    client: str = ""
    flags: Mapping[str, Scalar] = field(default_factory=dict)
    slo: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that runs already: its URL, the model's name, the variable that holds its key, and its tokenizer."""

    url: str
    model: str
    key_variable: str = ""
    tokenizer: str | None = None


def of_study(study: StudySpec, wanted: Wanted, canonical: Callable[[str], str]) -> StudySpec:
    """The study's engine with its default, or with the wanted flags, under the study's load or the wanted one."""
    changes = {
        "name": wanted.name or f"{study.name[: NAME_LENGTH - 6]}-bench",
        "engine": _with_flags(study.engine, wanted.flags, canonical),
        "benchmark": _load(study.benchmark, wanted),
        "goals": _goals(study.goals, wanted),
        "space": {},
        "budget": {"trials": 1},
        **dict.fromkeys(("first", "rules", "warm_start", "prior", "quality", "sampler", "pruner", "confirm"), None),
        **dict.fromkeys(("baseline", "baseline_every"), None),
    }
    kept = study.model_dump(mode="json", exclude_defaults=True)
    return StudySpec.model_validate({name: value for name, value in {**kept, **changes}.items() if value is not None})


def of_running(server: Running, wanted: Wanted) -> StudySpec:
    """A server that runs already, as it is. Raises SpecError for flags: it cannot be given any."""
    if wanted.flags:
        flag = next(iter(wanted.flags))
        raise SpecError([Fault("--flag", 0, 0, flag, "a server that runs already cannot be given flags")])
    key: dict[str, JsonValue] = {"api_key": {"env": server.key_variable}} if server.key_variable else {}
    quick = Part.model_validate({"kind": "http", **RECIPES["quick"]})
    return StudySpec.model_validate(
        {
            "name": wanted.name or _named(server.model),
            "model": {"name": server.model, "tokenizer": server.tokenizer},
            "engine": {"kind": "openai"},
            "deployer": {"kind": "running", "url": server.url, **key},
            "benchmark": _load(quick, wanted),
            "space": {},
            "goals": _goals(Goals(objectives=(THROUGHPUT,)), wanted),
            "budget": {"trials": 1},
            "limits": {"startup_s": ANSWERS_S},
        }
    )


def _named(model: str) -> str:
    return f"bench-{re.sub(r'[^A-Za-z0-9_.:+-]+', '-', model)}"[:NAME_LENGTH]


def _with_flags(engine: Part, flags: Mapping[str, Scalar], canonical: Callable[[str], str]) -> Options:
    """The fixed flags without those that are given anew, by whatever name."""
    options = dict(engine.options)
    fixed = options.get("flags")
    given = {canonical(name): value for name, value in flags.items()}
    kept = {
        name: value
        for name, value in (fixed if isinstance(fixed, dict) else {}).items()
        if canonical(name) not in given
    }
    merged: dict[str, JsonValue] = {**kept, **given}
    return {"kind": engine.kind, **options, **({"flags": merged} if merged else {})}


def _load(benchmark: Part, wanted: Wanted) -> Options:
    """The study's own load, the recipe's over it, and what was asked for over both; one kind of load is left."""
    asked = {**RECIPES.get(wanted.recipe, {}), **wanted.load}
    for kind, other in (("concurrency", "request_rate"), ("request_rate", "concurrency")):
        if kind in wanted.load:
            asked.pop(other, None)
    loads = {"concurrency", "request_rate"}
    own = {name: value for name, value in benchmark.options.items() if not (name in loads and loads & asked.keys())}
    kind = wanted.client or ("http" if "request_rate" in asked and benchmark.kind not in OPEN_LOOP else benchmark.kind)
    return {"kind": kind, **own, **asked}


def _goals(goals: Goals, wanted: Wanted) -> Mapping[str, JsonValue]:
    """The study's own, with the wanted bounds; a load that is searched no more cannot be the objective."""
    listed = bool({"concurrency", "request_rate"} & {*RECIPES.get(wanted.recipe, {}), *wanted.load})
    found: dict[str, JsonValue] = goals.model_dump(mode="json", exclude_defaults=True)
    objectives = [each for each in goals.objectives if not (listed and each.metric in SUSTAINED)] or [THROUGHPUT]
    bounded = {each.metric for each in wanted.slo}
    kept = [
        each for each in goals.constraints if each.metric not in bounded and not (listed and each.metric in SUSTAINED)
    ]
    found["objectives"] = [each.model_dump(mode="json") for each in objectives]
    found["constraints"] = [each.model_dump(mode="json", exclude_defaults=True) for each in (*kept, *wanted.slo)]
    return found
