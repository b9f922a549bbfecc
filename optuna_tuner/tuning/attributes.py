"""What Optuna's history holds of a trial beside its parameters, values and constraints."""

from __future__ import annotations

from optuna_tuner.search.evidence import EFFECTIVE_CONFIG, KIND, TOOK_S
from optuna_tuner.store.records import AttemptRecord, Outcome
from optuna_tuner.tuning.budget import slot_time_s


def attributes_of(attempt: AttemptRecord, outcome: Outcome) -> dict[str, object]:
    """What optuna-dashboard shows beside the parameters."""
    known: dict[str, object] = {
        "attempt": attempt.id,
        KIND: attempt.kind.value,
        "pair": attempt.pair,
        "worker": attempt.worker_id,
        "cause": outcome.cause.value if outcome.cause else None,
        "reason": outcome.reason,
        "advice": outcome.advice,
        "level": outcome.level,
        "kv_cache_retractions": outcome.kv_cache_retractions,
        "metrics": dict(outcome.metrics),
        "phases_s": {phase.value: round(seconds, 3) for phase, seconds in outcome.phases_s.items()},
        TOOK_S: round(slot_time_s(outcome.phases_s), 3),
        EFFECTIVE_CONFIG: dict(outcome.effective_config),
    }
    drift = outcome.drift.metrics if outcome.drift else {}
    repeated = {} if outcome.same_as is None else {"same_as": outcome.same_as}
    return {**{name: value for name, value in known.items() if value}, **drift, **repeated}
