"""What a study would launch, how large it is, and how long it may take; nothing is started."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.contracts import Engine, Target
from optuna_tuner.search.extra_runs import ExtraRuns, extra_runs
from optuna_tuner.search.gp import missing_for
from optuna_tuner.search.grid import left_out, trials_of
from optuna_tuner.spec.effects import effects
from optuna_tuner.spec.space import Float, Int
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.beginning import FROM_NOTHING, Beginning
from optuna_tuner.tuning.flag_warnings import flag_warnings
from optuna_tuner.tuning.foreseen import ANY_SLOT, random_configurations, refusal_warnings
from optuna_tuner.tuning.objections import known_bad
from optuna_tuner.tuning.problem import problem_of
from optuna_tuner.tuning.setting import Parts
from optuna_tuner.values import Endpoint, Model, Params, Request, Slot

EXAMPLES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would happen. `estimate_s` stands on trials that this study has measured; None before the first."""

    spec: StudySpec
    launches: tuple[Request, ...]  # the baseline, if there is one, what is tried first, then sampled examples
    load_client: Request | None  # of the first launch, where it runs elsewhere than the worker
    remarks: tuple[tuple[str, ...], ...]  # of each launch: what is known of it beforehand
    space_size: float  # configurations; conditions and rules make it smaller; infinite with a continuous parameter
    left_out: int  # configurations of a grid that are known not to run, as far as the budget reaches
    trials: int
    extra: ExtraRuns  # what is measured again beside them
    at_most_s: float  # by the study's limits, one trial after another; time in a cluster's queue is not in it
    estimate_s: float | None
    slots: tuple[Slot, ...]
    warm_start: tuple[str, ...]  # what older studies found that is tried first, and what changed on the way
    prior: tuple[str, ...]  # what a program predicts to be best, likewise; and where that comes from
    expected: tuple[str, ...]  # parameters of which the search begins with what the engine's guide says
    warnings: tuple[str, ...]
    notice: str  # what must be known of every figure first; empty for a real server
    beyond_speed: str  # what the search may change beside the speed, and what is done about it; empty for nothing


def plan(
    spec: StudySpec,
    parts: Parts,
    model: Model,
    slots: Sequence[Slot],
    estimate_s: float | None = None,
    beginning: Beginning = FROM_NOTHING,
) -> Plan:
    """Render the baseline, what is tried first, and sampled examples on the first slot, and add up the limits."""
    objection = known_bad(spec, parts, model, slots[0])
    examples = islice(random_configurations(spec, objection), EXAMPLES)
    chosen = [*[Params()] * spec.baseline, *spec.first_params, *examples]
    labels = {"study": "STUDY", "attempt": "ATTEMPT", "worker": "WORKER"}
    launches = tuple(
        parts.deployer.render(parts.engine.render(model, params, slots[0]), f"example-{place}", labels, slots[0])
        for place, params in enumerate(chosen)
    )
    everywhere = known_bad(spec, parts, model, ANY_SLOT)
    limits, trials = spec.limits, trials_of(spec, everywhere)
    asking_s = limits.quality_s if spec.quality else 0.0
    run_s = limits.startup_s + limits.warm_up_s + asking_s + limits.benchmark_s + limits.teardown_s
    extra = extra_runs(spec, trials)
    return Plan(
        spec=spec,
        launches=launches,
        load_client=_load_client(spec, parts, model, slots[0], launches[0]) if parts.deployer.hosts_clients else None,
        space_size=math.prod(parameter.size() or math.inf for parameter in spec.space.values()),
        left_out=left_out(spec, everywhere),
        trials=trials,
        extra=extra,
        at_most_s=(trials + extra.most) * run_s,
        estimate_s=estimate_s,
        slots=tuple(slots),
        remarks=tuple(parts.remarks(model, params, slots[0]) for params in chosen),
        warm_start=beginning.older.lines,
        prior=beginning.predicted.lines,
        expected=tuple(_expected(spec, parts.engine)),
        warnings=(*_warnings(spec, parts), *refusal_warnings(spec, objection), *beginning.remarks),
        notice=spec.notice,
        beyond_speed=_beyond_speed(spec),
    )


def _load_client(spec: StudySpec, parts: Parts, model: Model, slot: Slot, server: Request) -> Request | None:
    """What would be sent for the first run of the load client, on a server whose address nobody knows yet."""
    target = Target(
        endpoint=Endpoint(url="", model=model.name),
        model=model,
        folder=Path(),
        seed=0,
        slo=spec.goals.request_slo.value(),
        success_rate=spec.limits.success_rate,
        slot=slot,
    )
    return parts.deployer.planned_client(server, partial(parts.benchmark.program, target), spec.limits.benchmark_s)


def _expected(spec: StudySpec, engine: Engine) -> Iterator[str]:
    if spec.sampler.kind != "serving":
        return
    expectation = problem_of(spec, engine).expectation
    for name, parameter in spec.space.items():
        values = (parameter.low, parameter.high) if isinstance(parameter, Int | Float) else parameter.values()
        if any(expectation(name, value) for value in values):
            yield name


def _beyond_speed(spec: StudySpec) -> str:
    found = effects(spec)
    answers = [name for name, effect in found.items() if effect is Effect.QUALITY]
    promised = [name for name, effect in found.items() if effect is Effect.PRODUCT]
    said = []
    if spec.quality and answers:
        said.append(
            f"candidates that change {' or '.join(answers)} are asked {len(spec.quality.asked)} prompts before they "
            "are measured, and must answer like the default"
        )
    if promised:
        said.append(f"what clients are promised changes with {' and '.join(promised)}")
    return "; ".join(said)


def _warnings(spec: StudySpec, parts: Parts) -> tuple[str, ...]:
    found = list(filter(None, (parts.missing, missing_for(spec.sampler.kind))))
    if spec.budget.trials <= spec.sampler.startup_trials + spec.baseline:
        found.append(
            f"all {spec.budget.trials} trials are the baseline or random ones: "
            f"the sampler learns only after {spec.sampler.startup_trials} (sampler.startup_trials)"
        )
    if not spec.baseline:
        found.append("without a baseline no gain over the engine's own default can be shown")
    return (*found, *flag_warnings(spec, parts.engine))
