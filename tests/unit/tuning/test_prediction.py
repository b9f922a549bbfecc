"""What aiconfigurator predicts is tried first, where the study can have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from predictors import DENSE, EXPERTS, answering, rows

from optuna_tuner.errors import EnvironmentFaultError, SpecError
from optuna_tuner.other_programs import AICONFIGURATOR
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import read_content
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.store import Store
from optuna_tuner.tuner import Tuner
from optuna_tuner.tuning.beginning import beginning
from optuna_tuner.tuning.bench import Wanted, of_study
from optuna_tuner.tuning.prediction import in_this_study, predicted, question_of
from optuna_tuner.tuning.study import create_or_resume
from optuna_tuner.values import Scalar

KINDS = InstalledKinds()
NOTHING: Mapping[str, object] = MappingProxyType({})
CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
}
VLLM_SPACE = {
    "tensor_parallel_size": {"type": "choice", "choices": [1, 2, 4]},
    "pipeline_parallel_size": {"type": "choice", "choices": [1, 2]},
    "max_num_seqs": {"type": "choice", "choices": [16, 64, 256]},
    "max_num_batched_tokens": {"type": "choice", "choices": [1024, 2048, 8192]},
}
SGLANG_SPACE = {
    "tp_size": {"type": "choice", "choices": [4, 8]},
    "dp_size": {"type": "choice", "choices": [1, 4, 8]},
    "enable_dp_attention": {"type": "switch"},
    "ep_size": {"type": "choice", "choices": [1, 8]},
    "max_running_requests": {"type": "int", "low": 16, "high": 1024},
    "chunked_prefill_size": {"type": "int", "low": 1024, "high": 32768, "step": 1024},
}


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("OPTUNA_TUNER_AICONFIGURATOR", raising=False)


def content(changes: Mapping[str, object] = NOTHING, prior: Mapping[str, object] = NOTHING) -> dict[str, object]:
    return {
        "name": "chat",
        "model": {"name": "m", "path": "Qwen/Qwen3-32B"},
        "engine": {
            "kind": "simulated",
            "like": "vllm",
            "version": "0.33.0",
            "gpu": "H100",
            "gpus": 4,
            "config": CONFIG,
        },
        "benchmark": {"kind": "http", "scenario": "D(1024,256)", "concurrency": [1]},
        "space": VLLM_SPACE,
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "prior": {"system": "h100_sxm", "gpus": 4, **prior},
        **changes,
    }


def dense(changes: Mapping[str, object] = NOTHING, prior: Mapping[str, object] = NOTHING) -> StudySpec:
    return StudySpec.model_validate(content(changes, prior))


def experts(space: Mapping[str, object] = SGLANG_SPACE, flags: Mapping[str, Scalar] | None = None) -> StudySpec:
    engine = {"kind": "sglang", "version": "0.5.23", "flags": flags or {}}
    return dense({"engine": engine, "space": space}, {"system": "h200_sxm", "gpus": 8})


def chosen(spec: StudySpec, table: Path) -> Sequence[Mapping[str, Scalar]]:
    return [each.chosen for each in in_this_study(spec, KINDS, rows(table)).taken]


def refused(changes: Mapping[str, object] = NOTHING, prior: Mapping[str, object] = NOTHING) -> str:
    document = dense(changes, prior).model_dump(mode="json", exclude_defaults=True)
    with pytest.raises(SpecError) as caught:
        read_content(document, "study.yaml", KINDS)
    return str(caught.value)


def test_vllm_gets_parallelism_exactly_and_sizes_nearly_and_what_the_one_server_gives_most_with_comes_first() -> None:
    found = in_this_study(dense(), KINDS, rows(DENSE))
    first, second, third = map(str, found.taken)
    assert first == (
        "prediction 1: tensor_parallel_size=4 pipeline_parallel_size=1 max_num_seqs=256 max_num_batched_tokens=2048; "
        "max_num_seqs moved from 240 to 256; max_num_batched_tokens moved from 2286 to 2048; "
        "predicted, not measured: 1222 tokens/s/GPU on 4 GPUs, TTFT 263 ms, TPOT 48.1 ms"
    )
    assert second == (
        "prediction 2: tensor_parallel_size=2 pipeline_parallel_size=1 max_num_seqs=64 max_num_batched_tokens=2048; "
        "max_num_seqs moved from 128 to 64; max_num_batched_tokens moved from 2174 to 2048; "
        "predicted, not measured: 1325 tokens/s/GPU on 2 GPUs, TTFT 320 ms, TPOT 47.0 ms"
    )
    assert third == (
        "prediction 3: tensor_parallel_size=1 pipeline_parallel_size=1 max_num_seqs=16 max_num_batched_tokens=1024; "
        "max_num_seqs moved from 20 to 16; max_num_batched_tokens moved from 1043 to 1024; "
        "predicted, not measured: 545 tokens/s/GPU on 1 GPU, TTFT 258 ms, TPOT 35.7 ms"
    )
    assert found.notes == ("it simulated vllm 0.24.0 on h100_sxm; its figures are predictions",)
    assert found.remarks == ()


def test_the_servers_that_fit_beside_each_other_are_one_server_where_its_data_parallelism_is_searched() -> None:
    space = {**VLLM_SPACE, "data_parallel_size": {"type": "choice", "choices": [1, 2]}}
    found = in_this_study(dense({"space": space}), KINDS, rows(DENSE))
    spread = [(each.chosen["tensor_parallel_size"], each.chosen["data_parallel_size"]) for each in found.taken]
    assert spread == [(2, 2), (4, 1), (1, 1)]  # 4 of the last are not to be had
    assert "1325 tokens/s/GPU on 4 GPUs" in str(found.taken[0])


def test_sglang_gets_its_ranks_in_one_group_and_sizes_of_all_of_them() -> None:
    assert chosen(experts(), EXPERTS) == [
        {
            "tp_size": 8,
            "dp_size": dp,
            "enable_dp_attention": True,
            "ep_size": 8,
            "max_running_requests": 256,
            "chunked_prefill_size": tokens,
        }
        for dp, tokens in ((8, 24576), (4, 20480))
    ]


def test_what_the_study_cannot_have_is_passed_over_and_counted() -> None:
    found = in_this_study(experts(), KINDS, rows(EXPERTS))  # dp 2 is not in its space
    assert found.notes[1] == "1 of 3 predictions passed over: this study cannot have their parallelism"
    sizes = {name: VLLM_SPACE[name] for name in ("max_num_seqs", "max_num_batched_tokens")}
    assert chosen(dense({"space": sizes}), DENSE) == [{"max_num_seqs": 16, "max_num_batched_tokens": 1024}]


def test_what_is_fixed_to_the_same_goes_without_saying() -> None:
    space = {"max_running_requests": SGLANG_SPACE["max_running_requests"]}
    spread = {"tp_size": 8, "dp_size": 8, "enable_dp_attention": True, "ep_size": 8}
    found = in_this_study(experts(space, spread), KINDS, rows(EXPERTS))
    (taken,) = found.taken
    assert str(taken) == (
        "prediction 1: max_running_requests=256; left out chunked_prefill_size=24576; "
        "predicted, not measured: 627 tokens/s/GPU on 8 GPUs, TTFT 961 ms, TPOT 46.7 ms"
    )


def test_experts_that_vllm_cannot_spread_so_and_parallelism_of_contexts_are_passed_over() -> None:
    space = {**VLLM_SPACE, "enable_expert_parallel": {"type": "switch"}}
    row = replace(rows(DENSE)[1], moe_tp=2, moe_ep=2)
    kept = replace(row, moe_tp=1, moe_ep=4)
    engine = {"kind": "vllm", "version": "0.33.0"}
    found = in_this_study(dense({"space": space, "engine": engine}), KINDS, [row, kept, replace(kept, cp=2)])
    assert [each.chosen["enable_expert_parallel"] for each in found.taken] == [True]


def test_what_is_known_to_fail_or_tried_already_is_not_taken_and_no_more_than_asked_for() -> None:
    rules = [{"forbid": "max_num_seqs == 256"}]
    found = in_this_study(dense({"rules": rules}, {"best": 1}), KINDS, rows(DENSE))
    assert [each.chosen["tensor_parallel_size"] for each in found.taken] == [2]
    again = in_this_study(dense({"rules": rules}, {"best": 1}), KINDS, rows(DENSE), [found.taken[0].chosen])
    assert [each.chosen["tensor_parallel_size"] for each in again.taken] == [1]
    nothing = in_this_study(dense({"rules": [{"forbid": "max_num_seqs > 0"}]}), KINDS, rows(DENSE))
    assert nothing.remarks == ("aiconfigurator predicts nothing that can be tried here and is not tried already",)


def test_the_question_has_the_scenarios_means_and_the_tightest_bounds(tmp_path: Path) -> None:
    constraints = [
        {"metric": "ttft_ms.p99", "at_most": 800},
        {"metric": "ttft_ms.mean", "at_most": 300},
        {"metric": "itl_ms.p50", "at_most": 40},
        {"metric": "tpot_ms.p99", "at_most": 45},
    ]
    goals = {"objectives": [{"metric": "request_throughput_req_s", "direction": "maximize"}]}
    (tmp_path / "model").mkdir()
    changes = {"goals": {**goals, "constraints": constraints}, "model": {"name": "m", "path": str(tmp_path / "model")}}
    argv = question_of(dense(changes), (480, 300)).argv(Path("/bin/p"), Path("/f"))
    assert argv == (
        "/bin/p",
        "cli",
        "default",
        f"--model-path={tmp_path / 'model'}",
        "--total-gpus=4",
        "--system=h100_sxm",
        "--backend=vllm",
        "--serving-mode=agg",
        "--isl=480",
        "--osl=300",
        "--ttft=300",
        "--tpot=40",
        "--top-n=20",
        "--save-dir=/f",
        "--no-color",
    )
    unbounded = question_of(dense(prior={"input_tokens": 9, "output_tokens": 7}), None)
    assert (unbounded.input_tokens, unbounded.output_tokens) == (9, 7)
    assert (unbounded.ttft_ms, unbounded.tpot_ms) == (1e6, 1e6)


def test_a_file_whose_prediction_nothing_can_make_is_refused() -> None:
    script = {"kind": "script", "command": ["x"], "metrics": ["score"]}
    goals = {"objectives": [{"metric": "score", "direction": "maximize"}]}
    bare = {"benchmark": script, "goals": goals}
    said = "the benchmark has no scenario to tell how long requests are: set"
    assert f"{said} input_tokens and output_tokens" in refused(bare)
    assert f"{said} output_tokens" in refused(bare, {"input_tokens": 512})
    assert 'model.path is "builtin"' in refused({"model": {"name": "m", "path": "builtin"}})
    other = {"engine": {"kind": "llama_cpp"}, "space": {"parallel": {"type": "choice", "choices": [1, 2]}}}
    assert "aiconfigurator predicts for vllm and sglang, not for llama_cpp: leave prior out" in refused(other)
    assert read_content(dense().model_dump(mode="json", exclude_defaults=True), "study.yaml", KINDS) == dense()


@pytest.mark.parametrize("wrong", [{"system": "--help"}, {"gpus": 0}, {"kind": "other"}, {"best": 0}])
def test_what_is_no_system_or_number_of_gpus_is_refused(wrong: Mapping[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dense(prior=wrong)


def test_the_question_of_a_study_made_in_python_is_checked_before_anything_is_asked() -> None:
    with pytest.raises(SpecError, match="set input_tokens and output_tokens"):
        question_of(dense(), None)


def test_where_it_is_not_installed_the_study_goes_on_without(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    how = "aiconfigurator 0.12.0 is not here: optuna-tuner doctor --install aiconfigurator"
    assert predicted(dense(), KINDS).remarks == (f"nothing is predicted: {how}",)
    record = create_or_resume(store, dense())
    assert StudySpec.model_validate_json(record.spec_json).first == ()
    assert how in caplog.text


def test_a_program_that_was_named_and_is_not_there_is_not_gone_without(store: Store) -> None:
    with pytest.raises(EnvironmentFaultError, match=r"^prior\.executable: there is no program /nowhere/p$"):
        create_or_resume(store, dense(prior={"executable": "/nowhere/p"}))
    assert store.studies.all() == ()


def test_it_is_asked_once_when_the_study_is_made_and_stays_when_it_is_resumed(store: Store, tmp_path: Path) -> None:
    program, asked = answering(tmp_path, DENSE)
    spec = dense(prior={"executable": str(program), "best": 1})
    first = StudySpec.model_validate_json(create_or_resume(store, spec).spec_json).first
    assert [each["tensor_parallel_size"] for each in first] == [4]
    assert StudySpec.model_validate_json(create_or_resume(store, spec).spec_json).first == first
    assert beginning(store, spec, KINDS).added_to(spec).first == first
    assert len(asked.read_text().splitlines()) == 1


def test_a_plan_asks_once_and_shows_what_would_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, asked = answering(tmp_path, DENSE)
    monkeypatch.setenv(AICONFIGURATOR.executable().variable, str(program))
    tuner = Tuner(f"sqlite:///{tmp_path}/studies.db")
    plan = tuner.plan(dense({"first": [{"max_num_seqs": 64}]}, {"best": 1}))
    tuner.close()
    assert plan.prior[0] == "it simulated vllm 0.24.0 on h100_sxm; its figures are predictions"
    assert plan.prior[1].startswith("prediction 1: tensor_parallel_size=4")
    assert [each.get("tensor_parallel_size") for each in plan.spec.first] == [None, 4]
    assert len(asked.read_text().splitlines()) == 1


def test_a_benchmark_of_one_configuration_asks_for_no_prediction() -> None:
    assert of_study(dense(), Wanted(), str).prior is None


def test_a_study_of_nothing_but_a_prediction_needs_a_space() -> None:
    with pytest.raises(ValueError, match="leave out confirm, baseline_every, warm_start, prior and first"):
        dense({"space": {}, "budget": {"trials": 1}})


def test_a_prediction_does_not_make_another_study_of_it() -> None:
    assert dense().space_hash() == dense(prior={"best": 5}).space_hash() == dense({"prior": None}).space_hash()
