from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec_kinds import NamedKinds

from optuna_tuner.errors import Fault, SpecError
from optuna_tuner.spec.files import check_study, load_study, parse_study
from optuna_tuner.spec.study import StudySpec

GOOD = """\
name: chat
model: {name: tiny, path: builtin}
engine: {kind: vllm, flags: {max-model-len: 2048}}
benchmark: {kind: http, scenario: "D(64,32)", concurrency: [1, 4]}
space:
  max-num-seqs: {type: int, low: 1, high: 8}
  flash_attn: {type: choice, choices: [on, off], when: {max-num-seqs: [2, 4]}}
goals:
  objectives: [{metric: output_throughput_tok_s, direction: maximize}]
"""


def parse(text: str) -> StudySpec:
    return parse_study(text, "study.yaml", NamedKinds())


def test_on_and_off_stay_words() -> None:
    parameter = parse(GOOD).space["flash_attn"]
    assert parameter.type == "choice"
    assert parameter.choices == ("on", "off")


def test_flags_have_one_spelling_inside() -> None:
    spec = parse(GOOD)
    assert list(spec.space) == ["max_num_seqs", "flash_attn"]
    assert spec.space["flash_attn"].conditions() == {"max_num_seqs": (2, 4)}
    assert spec.fixed_flags == {"max_model_len": 2048}


def test_json_is_read_like_yaml_even_with_tabs_and_escapes() -> None:
    text = (
        '{\t"name": "chat", "description": "\\ud83d\\ude00 \\/", "model": {"name": "tiny", "path": "builtin"},\n'
        '\t"engine": {"kind": "vllm", "flags": {"max-model-len": 2048}},\n'
        '\t"benchmark": {"kind": "http", "scenario": "D(64,32)", "concurrency": [1, 4]},\n'
        '\t"space": {"lr": {"type": "float", "low": 1e-5, "high": 1E0, "log": true}},\n'
        '\t"goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]}}'
    )
    spec = parse(text)
    assert spec.description == "\N{GRINNING FACE} /"
    assert spec.space["lr"].type == "float"
    assert spec.space["lr"].low == 0.00001


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_study(file, NamedKinds()) == parse(GOOD)


def test_a_study_made_in_python_is_checked_like_a_file() -> None:
    spec = parse(GOOD)
    check_study(spec, NamedKinds())
    wrong = spec.model_copy(update={"engine": spec.engine.model_copy(update={"kind": "vlm"})})
    with pytest.raises(SpecError, match=r'chat: engine.kind: unknown kind "vlm"; did you mean "vllm"'):
        check_study(wrong, NamedKinds())


def test_reading_touches_no_network_process_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("reading must have no side effects")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", refuse)
        patched.setattr(subprocess, "Popen", refuse)
        patched.setattr(os, "environ", None)
        spec = parse(GOOD)
    assert spec.name == "chat"


def only_a_study_or_a_spec_error(text: str) -> None:
    try:
        outcome: object = parse(text)
    except SpecError as error:
        outcome = error.faults[0]
    assert isinstance(outcome, StudySpec | Fault)
    assert str(outcome)


@settings(max_examples=100)
@given(st.text(max_size=300))
def test_any_text_gives_a_study_or_its_faults(text: str) -> None:
    only_a_study_or_a_spec_error(text)


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from([*" \n:-,[]{}&*!|>'\"%@?#0x9.eE\\U~<=", "\t", "a", "name", "true", ".nan"]), max_size=60)
)
def test_any_punctuation_gives_a_study_or_its_faults(pieces: list[str]) -> None:
    only_a_study_or_a_spec_error("".join(pieces))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_give_a_study_or_its_faults(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_study(file, NamedKinds())
    assert caught.value.faults


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["1.5", ".inf", "1e999"])
PATHS = ["name", "model", "engine", "kind", "flags", "benchmark", "space", "goals", "type", "low", "when", "choices"]


@settings(max_examples=100)
@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.sampled_from(PATHS) | SCALARS.map(str))
def test_a_damaged_study_gives_a_study_or_its_faults(start: int, length: int, patch: str) -> None:
    only_a_study_or_a_spec_error(GOOD[:start] + patch + GOOD[start + length :])
