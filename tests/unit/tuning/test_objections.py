from __future__ import annotations

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.search.objection import first_of
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.objections import known_bad
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Model, Params, Slot

SPEC = StudySpec.model_validate(
    {
        "name": "s",
        "model": {"name": "m"},
        "engine": {"kind": "vllm", "version": "0.33.0", "flags": {"max_num_seqs": 64}},
        "benchmark": {"kind": "script", "command": ["x"], "metrics": ["score"]},
        "space": {"max_num_batched_tokens": {"type": "int", "low": 1, "high": 128}},
        "rules": [{"forbid": "max_num_batched_tokens == 7", "because": "unlucky"}],
        "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
    }
)


def why_not(tokens: int) -> str | None:
    objection = known_bad(
        SPEC, assemble(SPEC, InstalledKinds()), Model(name="m", path="m", tokenizer="m"), Slot(name="s", host="h")
    )
    return objection(Params(flags={"max_num_batched_tokens": tokens}))


def test_the_studys_own_rules_are_asked_before_the_engines() -> None:
    assert why_not(7) == "rule: max_num_batched_tokens == 7 (unlucky)"
    assert why_not(63) == "max_num_batched_tokens (63) is below max_num_seqs (64)"
    assert why_not(64) is None


def test_of_several_objections_the_first_reason_counts_and_the_rest_is_not_asked() -> None:
    asked = []

    def note(name: str, reason: str | None) -> str | None:
        asked.append(name)
        return reason

    every = first_of(lambda _: note("a", None), lambda _: note("b", "b objects"), lambda _: note("c", "c too"))
    assert (every(Params()), asked) == ("b objects", ["a", "b"])
    assert first_of()(Params()) is None
