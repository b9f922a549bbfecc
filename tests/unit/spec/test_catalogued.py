from __future__ import annotations

import pytest

from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study

STUDY = """\
name: s
model: {{name: m, path: m}}
engine: {{kind: vllm, {version}, flags: {{{flags}}}}}
benchmark: {{kind: script, command: [x], metrics: [score]}}
space: {{{space}}}
goals: {{objectives: [{{metric: score, direction: maximize}}]}}
"""
NEAR = '; did you mean "kv_dtype"?'
FREE = "x_y: {type: int, low: 1, high: 2, env: true}"


def faults(flags: str = "", space: str = FREE, version: str = "version: 1.10.0") -> list[str]:
    text = STUDY.format(flags=flags, space=space, version=version) + "quality: {}\n"
    try:
        parse_study(text, "study.yaml", InstalledKinds())
    except SpecError as error:
        return [f"{fault.path}: {fault.message}" for fault in error.faults]
    return []


@pytest.mark.usefixtures("forked_vllm")
@pytest.mark.parametrize(
    "flags",
    [
        "max-seqs: 8",
        "--max-seqs: 8",
        "ms: 8",
        "max_seqs: 8k",
        "max_seqs: auto",
        "kv_dtype: fp8",
        "eager: true",
        "eager: false",
        "chunked: false",
        "draft: {method: ngram}",
        "draft.method: ngram",
        "max_seqs: [1, 2]",
    ],
)
def test_what_the_parser_takes_is_taken(flags: str) -> None:
    assert faults(flags) == []


@pytest.mark.usefixtures("forked_vllm")
@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (
            "kv_dtypes: fp8",
            "engine.flags.kv_dtypes: is no flag of vllm 1.10.0, nor of any other version that is known" + NEAR,
        ),
        ("kv_dtype: fp9", 'engine.flags.kv_dtype: --kv-dtype does not take "fp9"; did you mean "fp8"?'),
        ("kv_dtype: x", 'engine.flags.kv_dtype: --kv-dtype does not take "x"; it takes auto or fp8'),
        ("kv_dtype: true", "engine.flags.kv_dtype: --kv-dtype takes a word, not true"),
        ("eager: 'true'", 'engine.flags.eager: --eager takes no word: write true or false, not "true"'),
        ("eager: 1", "engine.flags.eager: --eager takes no word: write true or false, not 1"),
        ("max_seqs: many", 'engine.flags.max_seqs: --max-seqs takes a number, not "many"'),
        ("max_seqs: 1.5", "engine.flags.max_seqs: --max-seqs takes whole numbers"),
        ("max_seqs: true", "engine.flags.max_seqs: --max-seqs takes a word, not true"),
        ("max_seqs.low: 1", "engine.flags.max_seqs.low: --max-seqs is no object: it takes no dotted names"),
    ],
)
def test_what_the_parser_refuses_is_refused(flags: str, fault: str) -> None:
    assert faults(flags) == [fault]


@pytest.mark.usefixtures("forked_vllm")
@pytest.mark.parametrize(
    ("space", "path"),
    [
        ("max_seqs: {type: float, low: 0.1, high: 0.9}", "space.max_seqs.type"),
        ("max_seqs: {type: switch}", "space.max_seqs.type"),
        ("eager: {type: int, low: 0, high: 1}", "space.eager.type"),
        ("kv_dtype: {type: choice, choices: [auto, fp8, int8]}", "space.kv_dtype.choices[2]"),
        ("beads: {type: switch}", "space.beads"),
    ],
)
def test_what_is_sampled_is_held_against_the_catalogue_as_well(space: str, path: str) -> None:
    (fault,) = faults(space=space)
    assert fault.startswith(f"{path}: ")


@pytest.mark.usefixtures("forked_vllm")
def test_variables_of_the_environment_are_no_flags() -> None:
    assert faults(space=FREE) == []


@pytest.mark.parametrize(("version", "known"), [("0.14.1", True), ("0.15.0", False), ("0.33.0", False)])
def test_a_variable_that_a_version_does_not_read_is_named(version: str, known: bool) -> None:  # noqa: FBT001  a parameter
    reason = f"does nothing in vllm {version}: not read since 0.15.0; use the flag --attention-backend"
    fixed = faults(version=f"version: {version}, env: {{VLLM_ATTENTION_BACKEND: FLASHINFER}}")
    assert fixed == ([] if known else [f"engine.env.VLLM_ATTENTION_BACKEND: {reason}"])
    sampled = "VLLM_ATTENTION_BACKEND: {type: choice, choices: [FLASH_ATTN, FLASHINFER], env: true}"
    told = faults(space=sampled, version=f"version: {version}")
    assert told == ([] if known else [f"space.VLLM_ATTENTION_BACKEND: {reason}"])


@pytest.mark.usefixtures("forked_vllm")
@pytest.mark.parametrize("version", ["image: 'vllm/vllm-openai:v1.10.0'", "version: v1.10.0"])
def test_the_version_may_stand_in_the_images_tag(version: str) -> None:
    assert len(faults("beads: 1", version=version)) == 1


@pytest.mark.usefixtures("forked_vllm")
@pytest.mark.parametrize("version", ["version: 1.10.1", "image: 'vllm/vllm-openai:latest'", "env: {}"])
def test_nothing_is_refused_where_the_version_is_not_exactly_known(version: str) -> None:
    assert faults("beads: 1", version=version) == []


@pytest.mark.usefixtures("forked_vllm")
def test_all_is_said_at_once() -> None:
    assert len(faults("beads: 1, kv_dtype: x", "strings: {type: switch}")) == 3
