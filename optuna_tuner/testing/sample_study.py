"""A study that never ran, with every way in which a trial can end: for tests of what is shown to people.

Its trials are known by heart: 0 is the default; 3 has the highest throughput but breaks the SLO; 8 is the best that
keeps it, with half the sequences that it was asked for; 4 ran out of memory; 5 was rejected; 6 is a failure of the
machine, and 7 the same parameters again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import optuna
from optuna.storages import BaseStorage

from optuna_tuner.spec.goals import Constraint, Goals, Objective
from optuna_tuner.spec.space import Float, Int, Switch
from optuna_tuner.spec.study import Budget, ModelSpec, Part, StudySpec
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Desired,
    Outcome,
    StudyRecord,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.values import Cause, Load, Measurement, Params, Phase, Slot

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRIAL_S = 60
CUT = {"max_num_seqs": 128}  # trial 8 asked for 256
SLO = Constraint(metric="ttft_ms.p99", at_most=200)
THROUGHPUT = Objective(metric="output_throughput_tok_s", direction="maximize")
LATENCY = Objective(metric="e2e_latency_ms.mean", direction="minimize")
WORKER = WorkerRecord(
    id="worker-1",
    study_id="study-1",
    host="node-a",
    boot_id="boot",
    pid=4711,
    pid_start=1.0,
    beat=3,
    slot=Slot(name="slot-0", host="node-a", cores=(0, 1)),
    retired=True,
)
STATES = {
    Verdict.COMPLETE: optuna.trial.TrialState.COMPLETE,
    Verdict.PRUNED: optuna.trial.TrialState.PRUNED,
    Verdict.FAIL: optuna.trial.TrialState.FAIL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStudy:
    """A study's file, its records, and a way to tell them to Optuna."""

    spec: StudySpec
    record: StudyRecord
    attempts: tuple[AttemptRecord, ...]
    workers: tuple[WorkerRecord, ...] = (WORKER,)

    def tell(self, storage: BaseStorage) -> optuna.Study:
        """Make Optuna's study of these attempts."""
        directions = [objective.direction for objective in self.spec.goals.objectives]
        study = optuna.create_study(storage=storage, study_name=self.spec.name, directions=directions)
        for attempt in self.attempts:
            if attempt.outcome is not None:
                study.add_trial(_frozen(attempt, attempt.outcome))
        return study


def sample_study(name: str = "sample", *, objectives: Sequence[Objective] = (THROUGHPUT,)) -> SampleStudy:
    """The study described above, at its end. Several objectives give it a Pareto front of trials 0, 2 and 8."""
    spec = StudySpec(
        name=name,
        description="A study that never ran",
        model=ModelSpec(name="tiny"),
        engine=Part.model_validate({"kind": "vllm", "version": "0.11.0", "flags": {"dtype": "bfloat16"}}),
        benchmark=Part(kind="genai_bench"),
        space={
            "max_num_seqs": Int(type="int", low=1, high=512),
            "gpu_memory_utilization": Float(type="float", low=0.5, high=0.95),
            "enable_prefix_caching": Switch(type="switch"),
        },
        goals=Goals(objectives=tuple(objectives), constraints=(SLO,)),
        budget=Budget(trials=10),
    )
    attempts = tuple(_attempts(spec.goals))
    record = StudyRecord(
        id="study-1",
        name=name,
        spec_json=spec.model_dump_json(),
        space_hash="0" * 64,
        budget=10,
        reserved=10,
        desired=Desired.RUN,
        created_at=BEGAN,
    )
    return SampleStudy(spec=spec, record=record, attempts=attempts)


def _attempts(goals: Goals) -> list[AttemptRecord]:
    """Throughput and p99 TTFT of each trial at its operating point, or how it failed."""
    endings = [
        measured(goals, 500, 100),
        measured(goals, 450, 120),
        measured(goals, 650, 90, e2e_ms=700),
        measured(goals, 950, 900),
        failed(goals, Cause.OUT_OF_MEMORY_POOL, "ValueError: No available memory for the cache blocks."),
        failed(goals, Cause.REJECTED, "rule: max_num_batched_tokens < max_num_seqs"),
        Outcome(verdict=Verdict.FAIL, cause=Cause.PORT_IN_USE, reason="Address already in use"),
        measured(goals, 620, 150),
        measured(goals, 800, 180),
        measured(goals, 700, 260),
        measured(goals, 610, 190),
    ]
    sampled = [_sampled(number) for number in range(len(endings))]
    sampled[7] = sampled[6]
    made = [attempt(number, ending, sampled[number]) for number, ending in enumerate(endings)]
    made[7] = replace(made[7], retry_of=made[6].id, tries=2)
    made[8] = replace(made[8], outcome=replace(endings[8], effective_config={"kv_cache_blocks": 4096, **CUT}))
    return made


def _sampled(number: int) -> Params:
    if number == 0:
        return Params()
    seqs, memory = 1 << number % 10, 0.5 + number % 5 * 0.1
    return Params(
        flags={"max_num_seqs": seqs, "gpu_memory_utilization": memory, "enable_prefix_caching": number % 2 == 0}
    )


def attempt(number: int, outcome: Outcome, params: Params) -> AttemptRecord:
    """An ended attempt: one a minute, the first one is the baseline."""
    began = BEGAN + timedelta(seconds=number * TRIAL_S)
    return AttemptRecord(
        id=f"attempt-{number}",
        study_id="study-1",
        kind=AttemptKind.SEARCH if number else AttemptKind.BASELINE,
        state=AttemptState.ENDED,
        tries=1,
        retry_of=None,
        params=params,
        number=number,
        worker_id=WORKER.id,
        phase=Phase.TEARDOWN,
        cancel=False,
        outcome=outcome,
        told=True,
        created_at=began,
        claimed_at=began,
        ended_at=began + timedelta(seconds=TRIAL_S),
    )


def measured(goals: Goals, throughput: float, ttft_ms: float, e2e_ms: float = 1000) -> Outcome:
    """A trial that was measured at two load levels, the second one scored."""
    low = _metrics(throughput * 0.6, ttft_ms * 0.5, e2e_ms * 0.5)
    metrics = _metrics(throughput, ttft_ms, e2e_ms)
    constraints = {"server runs": 0.0} | {each.name: each.excess(metrics) for each in goals.constraints}
    broken = any(value > 0 for value in constraints.values())
    return Outcome(
        verdict=Verdict.COMPLETE,
        values=tuple(metrics[objective.metric] for objective in goals.objectives),
        constraints=constraints,
        cause=Cause.SLO if broken else None,
        level=str(Load(value=8)),
        metrics=metrics,
        measurements=(
            Measurement(load=Load(value=4), metrics=low, report="reports/level-4.json"),
            Measurement(load=Load(value=8), metrics=metrics, report="reports/level-8.json"),
        ),
        phases_s={Phase.START_UP: 20.0, Phase.WARM_UP: 5.0, Phase.BENCHMARK: 30.0, Phase.TEARDOWN: 2.0},
        effective_config={"kv_cache_blocks": 4096},
    )


def _metrics(throughput: float, ttft_ms: float, e2e_ms: float) -> Mapping[str, float]:
    latencies = {f"e2e_latency_ms.{each}": e2e_ms for each in ("mean", "p50", "p90", "p99")}
    return latencies | {
        "output_throughput_tok_s": throughput,
        "total_throughput_tok_s": throughput * 3,
        "ttft_ms.mean": ttft_ms / 2,
        "ttft_ms.p99": ttft_ms,
        "tpot_ms.mean": 12.0,
        "completed_requests": 99.0,
        "failed_requests": 1.0,
    }


def failed(goals: Goals, cause: Cause, reason: str) -> Outcome:
    """A trial that the configuration made fail before it was measured."""
    constraints = dict.fromkeys(["server runs", *(each.name for each in goals.constraints)], 1.0)
    phases_s = {Phase.START_UP: 12.0}
    return Outcome(verdict=Verdict.PRUNED, constraints=constraints, cause=cause, reason=reason, phases_s=phases_s)


def _frozen(attempt: AttemptRecord, outcome: Outcome) -> optuna.trial.FrozenTrial:
    params = attempt.params.flags if attempt.params else {}
    space = {
        "max_num_seqs": optuna.distributions.IntDistribution(1, 512),
        "gpu_memory_utilization": optuna.distributions.FloatDistribution(0.5, 0.95),
        "enable_prefix_caching": optuna.distributions.CategoricalDistribution((False, True)),
    }
    complete = outcome.verdict is Verdict.COMPLETE
    trial = optuna.trial.create_trial(
        state=STATES[outcome.verdict],
        params=dict(params),
        distributions={name: space[name] for name in params},
        values=list(outcome.values) if complete else None,
        constraints=dict(outcome.constraints) if outcome.constraints else None,
        user_attrs={"attempt": attempt.id, **({"cause": outcome.cause.value} if outcome.cause else {})},
    )
    began, ended = attempt.claimed_at or BEGAN, attempt.ended_at or BEGAN
    # Optuna keeps moments without a zone.
    trial.datetime_start, trial.datetime_complete = began.replace(tzinfo=None), ended.replace(tzinfo=None)
    return trial
