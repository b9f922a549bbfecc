"""Flags that change more than the speed are searched only where the study says so."""

from __future__ import annotations

import pytest

from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.effects import altered, asks_for_answers, effects
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.quality import Quality, built_in_prompts
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Scalar

STUDY = """\
name: s
model: {name: m, path: m}
engine: {kind: vllm}
benchmark: {kind: script, command: [x], metrics: [score]}
goals: {objectives: [{metric: score, direction: maximize}]}
space:
  kv-cache-dtype: {type: choice, choices: [auto, fp8]}
  max_num_seqs: {type: int, low: 1, high: 9}
"""
LONGER = "  max_model_len: {type: int, low: 1, high: 9}\n"


def study(more: str = "", text: str = STUDY) -> StudySpec:
    return parse_study(text + more, "s.yaml", InstalledKinds())


def faults(more: str = "", text: str = STUDY) -> list[str]:
    with pytest.raises(SpecError) as caught:
        study(more, text)
    return [str(fault) for fault in caught.value.faults]


def test_a_flag_that_changes_the_answers_is_refused_with_its_place_and_what_to_write() -> None:
    (fault,) = faults()
    assert fault == (
        "s.yaml:7:3: space.kv-cache-dtype: changes the model's answers, not only the speed: "
        "add `quality: {}` to the file to allow it, or fix its value in engine.flags"
    )


@pytest.mark.parametrize("engine", ["kind: vllm", "kind: vllm, version: 0.11.0", "kind: vllm, version: 99.0.0"])
def test_no_version_and_an_unknown_one_are_as_good_as_a_known_one(engine: str) -> None:
    text = STUDY.replace("kind: vllm", engine)
    assert [fault.partition(" ")[0] for fault in faults(text=text)] == ["s.yaml:7:3:"]
    assert study("quality: {}\n", text).quality == Quality()


def test_a_flag_that_changes_what_is_promised_must_be_named() -> None:
    (fault,) = faults(LONGER + "quality: {}\n")
    assert fault == (
        "s.yaml:9:3: space.max_model_len: changes what clients are promised, not only the speed: "
        "add `quality: {allow: [max_model_len]}` to the file to allow it, or fix its value in engine.flags"
    )
    assert study(LONGER + "quality: {allow: [--max-model-len]}\n").quality == Quality(allow=("max_model_len",))


def test_allowing_a_flag_of_the_answers_is_a_mistake_that_is_told() -> None:
    (fault,) = faults("quality: {allow: [kv_cache_dtype]}\n")
    assert (
        fault == "s.yaml:9:19: quality.allow[0]: kv_cache_dtype changes nothing that clients are promised: "
        "leave it out of allow"
    )


def test_without_a_baseline_there_is_nothing_to_hold_answers_against() -> None:
    (fault,) = faults("baseline: false\nquality: {}\n")
    assert fault.startswith("s.yaml:9:11: baseline: quality needs the baseline")


def test_a_flag_that_is_said_to_change_the_answers_must_be_sampled() -> None:
    (fault,) = faults("quality: {flags: [max_num_seq]}\n")
    assert fault == 's.yaml:9:19: quality.flags[0]: max_num_seq is not in space; did you mean "max_num_seqs"?'


def test_a_section_that_cannot_be_read_is_told_once() -> None:
    (fault,) = faults("quality: {agreement_at_least: 2}\n")
    assert fault == "s.yaml:9:31: quality.agreement_at_least: must be at most 1, not 2"


def test_an_old_task_is_told_that_its_format_cannot_say_so() -> None:
    text = """{"task_name": "t", "model": {"id_or_path": "m"}, "base_runtime": "vllm",
 "parameters": {"kv-cache-dtype": ["auto", "fp8"]},
 "optimization": {"strategy": "grid_search", "objective": "minimize_latency"},
 "benchmark": {"task": "text-to-text", "model_name": "m", "model_tokenizer": "m", "traffic_scenarios": ["D(8,8)"],
               "num_concurrency": [1]}}"""
    assert any("the task format cannot allow that" in fault for fault in faults(text=text))


def test_what_is_said_to_change_the_answers_counts_like_what_is_known_to() -> None:
    spec = study("  MODE: {type: choice, choices: [a, b], env: true}\nquality: {flags: [MODE, max-num-seqs]}\n")
    assert effects(spec) == dict.fromkeys(("kv_cache_dtype", "max_num_seqs", "MODE"), Effect.QUALITY)


def test_a_study_of_speed_alone_asks_nobody() -> None:
    text = STUDY.replace(
        "kv-cache-dtype: {type: choice, choices: [auto, fp8]}", "block_size: {type: int, low: 1, high: 9}"
    )
    assert not asks_for_answers(study("quality: {}\n", text))
    assert asks_for_answers(study("quality: {}\n"))


def test_the_defaults_own_value_changes_nothing() -> None:
    spec = study(LONGER + "quality: {allow: [max_model_len]}\n")
    given: dict[str, Scalar] = {"kv_cache_dtype": "auto", "max_model_len": 8, "max_num_seqs": 4}
    assert altered(spec, given, {}) == {"max_model_len": Effect.PRODUCT}
    assert altered(spec, given, {"max_model_len": 8}) == {}
    assert altered(spec, {"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "auto"}) == {"kv_cache_dtype": Effect.QUALITY}


def test_the_section_makes_another_study_and_its_absence_the_old_one() -> None:
    text = STUDY.replace(
        "kv-cache-dtype: {type: choice, choices: [auto, fp8]}", "block_size: {type: int, low: 1, high: 9}"
    )
    hashes = {study(more, text).space_hash() for more in ("", "quality: {}\n", "quality: {max_tokens: 8}\n")}
    assert len(hashes) == 3


def test_the_built_in_prompts_are_a_dozen_different_ones() -> None:
    assert len(set(built_in_prompts())) == 12
    assert Quality().asked == built_in_prompts()
    assert Quality(prompts=("Why?",)).asked == ("Why?",)
