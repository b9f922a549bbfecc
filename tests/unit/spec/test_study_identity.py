"""Which changes of a study file make another study of it."""

from __future__ import annotations

import pytest
from spec_kinds import NamedKinds

from optuna_tuner.spec.files import parse_study

STUDY = """\
name: chat
model: {name: tiny, path: builtin}
engine: {kind: vllm, flags: {max_model_len: 2048}}
benchmark: {kind: http, scenario: "D(64,32)"}
space:
  max_num_seqs: {type: int, low: 1, high: 8}
  mode: {type: choice, choices: [a, b]}
goals:
  objectives: [{metric: output_throughput_tok_s, direction: maximize}]
  constraints: [{metric: ttft_ms.p99, at_most: 500}]
rules: [{forbid: max_num_seqs > 6, because: slow}]
"""


def space_hash(text: str) -> str:
    return parse_study(text, "study.yaml", NamedKinds()).space_hash()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: chat", "name: other"),
        ("name: chat", "name: chat\ndescription: more\ntags: {team: a}"),
        ("name: chat", "name: chat\nbudget: {trials: 99}\nlimits: {startup_s: 9}\nsampler: {seed: 3}\nbaseline: false"),
        ("name: chat", "name: chat\ndeployer: {kind: docker}"),
        ("because: slow", "because: too slow"),
        ("at_most: 500", "at_most: 500.0"),
        ("{type: int, low: 1, high: 8}", "{high: 8, low: 1, type: int}"),
        ("max_num_seqs: {", "max-num-seqs: {"),
        ("high: 8}", "high: 8, step: 1}"),
    ],
)
def test_a_study_can_be_resumed_after(old: str, new: str) -> None:
    assert old in STUDY
    assert space_hash(STUDY.replace(old, new)) == space_hash(STUDY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("high: 8", "high: 9"),
        ("[a, b]", "[b, a]"),
        ("max_model_len: 2048", "max_model_len: 4096"),
        ("path: builtin", "path: other"),
        ("kind: vllm", "kind: sglang"),
        ("D(64,32)", "D(64,64)"),
        ("at_most: 500", "at_most: 501"),
        ("maximize", "minimize"),
        ("max_num_seqs > 6", "max_num_seqs > 7"),
    ],
)
def test_another_question_is_another_study(old: str, new: str) -> None:
    assert old in STUDY
    assert space_hash(STUDY.replace(old, new)) != space_hash(STUDY)


def test_the_hash_is_the_same_in_every_process() -> None:
    assert space_hash(STUDY) == "6746dd64a372bbdb33965722d2ee8856cf8fcb352b9de83979a9d82fd28c0120"
