"""What older studies found is tried first, in the words of the new study's version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import pytest
from pydantic import ValidationError

from optuna_tuner.errors import ConflictError, NotFoundError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.beginning import beginning
from optuna_tuner.tuning.study import create_or_resume
from optuna_tuner.tuning.warm_start import found
from optuna_tuner.values import Cause, Scalar, Slot

KINDS = InstalledKinds()
OLD_SPACE = {
    "max_running_requests": {"type": "choice", "choices": [32, 64, 512]},
    "cuda_graph_max_bs": {"type": "choice", "choices": [64, 128]},
    "stream_interval": {"type": "choice", "choices": [1, 8]},
}
NEW_SPACE = {
    "max_running_requests": {"type": "int", "low": 16, "high": 256},
    "cuda-graph-max-bs-decode": {"type": "choice", "choices": [32, 128, 256]},
}
Configuration = Mapping[str, Scalar]
Ran = Sequence[tuple[Configuration, Outcome]]


def spec(
    name: str, space: object, version: str = "0.5.23", changes: Mapping[str, object] = MappingProxyType({})
) -> StudySpec:
    document: dict[str, object] = {
        "name": name,
        "model": {"name": "m"},
        "engine": {"kind": "sglang", "version": version},
        "benchmark": {"kind": "http", "scenario": "D(8,4)", "concurrency": [1]},
        "space": space,
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
    }
    return StudySpec.model_validate({**document, **changes})


def new(**changes: object) -> StudySpec:
    wanted: dict[str, object] = {"warm_start": {"studies": ["old"]}}
    return spec("new", NEW_SPACE, changes=wanted | changes)


def scored(value: float, excess: float = 0.0) -> Outcome:
    return Outcome(verdict=Verdict.COMPLETE, values=(value,), constraints={"server runs": excess})


def play(store: Store, older: StudySpec, ran: Ran) -> None:
    """The older study: its default scores 100, then each configuration what is given."""
    older = older.model_copy(update={"first": tuple(flags for flags, _ in ran)})
    record = create_or_resume(store, older)
    worker = store.workers.register(
        study_id=record.id, slot=Slot(name="s", host="h"), host="h", boot_id="b", pid=1, pid_start=1.0
    )
    for number, outcome in enumerate([scored(100.0), *(outcome for _, outcome in ran)]):
        attempt = store.attempts.claim(record.id, worker.id, baseline=True, first=older.first_params)
        assert attempt is not None
        store.attempts.asked(attempt.id, number)
        store.attempts.end(attempt.id, worker.id, outcome, retry=False)


def chosen(store: Store, asked: StudySpec) -> list[Configuration]:
    return [each.chosen for each in found(store, asked, KINDS).taken]


def test_the_best_that_kept_the_promise_are_taken_the_best_first(store: Store) -> None:
    crashed = Outcome(verdict=Verdict.PRUNED, constraints={"server runs": 1.0}, cause=Cause.CRASHED)
    ran = [
        ({"max_running_requests": 32}, scored(110.0)),
        ({"max_running_requests": 64}, scored(130.0)),
        ({"max_running_requests": 32, "cuda_graph_max_bs": 128}, scored(200.0, excess=0.2)),
        ({"max_running_requests": 64, "cuda_graph_max_bs": 128}, crashed),
        ({"cuda_graph_max_bs": 128}, scored(120.0)),
    ]
    play(store, spec("old", OLD_SPACE, "0.5.19"), ran)
    asked = new(warm_start={"studies": ["old"], "best": 2})
    assert chosen(store, asked) == [{"max_running_requests": 64}, {"cuda_graph_max_bs_decode": 128}]


def test_with_several_goals_what_nothing_beats_comes_first(store: Store) -> None:
    goals = {
        "objectives": [
            {"metric": "output_throughput_tok_s", "direction": "maximize"},
            {"metric": "ttft_ms.p99", "direction": "minimize"},
        ]
    }
    both = Outcome(verdict=Verdict.COMPLETE, constraints={"server runs": 0.0})
    values = ((100.0, 9.0), (90.0, 9.5), (80.0, 5.0))
    space = {"max_running_requests": OLD_SPACE["max_running_requests"]}
    ran = [
        ({"max_running_requests": each}, replace(both, values=pair))
        for each, pair in zip((32, 64, 512), values, strict=True)
    ]
    play(store, spec("old", space, changes={"goals": goals}), ran)
    assert chosen(store, new()) == [{"max_running_requests": each} for each in (32, 256, 64)]


def test_flags_have_the_new_versions_names_and_the_new_spaces_nearest_values_and_what_changed_is_said(
    store: Store,
) -> None:
    flags = {"max_running_requests": 512, "cuda_graph_max_bs": 64, "stream_interval": 8}
    play(store, spec("old", OLD_SPACE, "0.5.19"), [(flags, scored(130.0))])
    (taken,) = found(store, new(), KINDS).taken
    assert str(taken) == (
        'study "old", trial 1: max_running_requests=256 cuda_graph_max_bs_decode=32; '
        "max_running_requests moved from 512 to 256; cuda_graph_max_bs is cuda_graph_max_bs_decode here; "
        "cuda_graph_max_bs_decode moved from 64 to 32; left out stream_interval=8"
    )


def test_what_is_known_to_fail_here_is_not_tried(store: Store) -> None:
    play(store, spec("old", OLD_SPACE, "0.5.19"), [({"max_running_requests": 64}, scored(130.0))])
    asked = new(rules=[{"forbid": "max_running_requests == 64"}])
    result = found(store, asked, KINDS)
    assert result.taken == ()
    assert 'study "old" has nothing that can be tried here and is not tried already' in result.remarks


def test_what_else_was_otherwise_is_said_and_flags_that_change_the_answers_above_all(store: Store) -> None:
    engine = {"kind": "sglang", "version": "0.5.19", "flags": {"kv_cache_dtype": "fp8_e5m2"}}
    older = spec("old", OLD_SPACE, changes={"engine": engine, "model": {"name": "older"}})
    play(store, older, [({"max_running_requests": 64}, scored(130.0))])
    assert found(store, new(), KINDS).remarks == (
        'study "old" served older, not m',
        'study "old" ran sglang 0.5.19, not 0.5.23',
        'study "old" had kv_cache_dtype=fp8_e5m2, this one has no kv_cache_dtype: it changes the model\'s answers',
    )


def test_it_is_looked_for_once_and_stays_when_the_study_is_resumed(store: Store) -> None:
    older = spec("old", OLD_SPACE, "0.5.19")
    play(store, older, [({"max_running_requests": 64}, scored(130.0))])
    asked = new(first=[{"max_running_requests": 128}])
    wanted = ({"max_running_requests": 128}, {"max_running_requests": 64})
    assert StudySpec.model_validate_json(create_or_resume(store, asked).spec_json).first == wanted
    record = store.studies.get("old")
    store.studies.set_spec(record.id, spec("old", OLD_SPACE, changes={"engine": {"kind": "vllm"}}).model_dump_json())
    assert beginning(store, asked, KINDS).added_to(asked).first == wanted
    assert StudySpec.model_validate_json(create_or_resume(store, asked).spec_json).first == wanted


def test_an_older_study_of_another_engine_is_refused(store: Store) -> None:
    space = {"max_num_seqs": {"type": "choice", "choices": [1, 2]}}
    create_or_resume(store, spec("old", space, changes={"engine": {"kind": "vllm", "version": "0.33.0"}}))
    with pytest.raises(ConflictError, match='study "old" is of vllm, whose flags mean nothing to sglang'):
        create_or_resume(store, new())


def test_an_older_study_that_is_not_there_is_told_with_a_guess(store: Store) -> None:
    create_or_resume(store, spec("older", OLD_SPACE, "0.5.19"))
    with pytest.raises(NotFoundError, match='no study is called "old"; did you mean "older"'):
        create_or_resume(store, new())
    assert [each.name for each in store.studies.all()] == ["older"]


def test_a_study_cannot_start_from_itself() -> None:
    with pytest.raises(ValidationError, match="is this study itself; name an older one"):
        new(warm_start={"studies": ["old", "new"]})
