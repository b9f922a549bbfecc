from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_kinds import NamedKinds

from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.goals import Constraint, Goals, Objective
from optuna_tuner.spec.quality import Quality
from optuna_tuner.spec.space import Choice, Float, Int, Switch
from optuna_tuner.spec.study import Budget, ModelSpec, Part, Rule, StudySpec
from optuna_tuner.spec.writing import SCHEMA_LINE, to_yaml

STUDY = StudySpec(
    name="chat",
    description="two\nlines",
    model=ModelSpec(name="tiny", path="builtin"),
    engine=Part.model_validate({"kind": "vllm", "flags": {"max_model_len": 2048}}),
    benchmark=Part.model_validate({"kind": "http", "scenario": "D(64,32)", "concurrency": [1, 4]}),
    space={
        "max_num_seqs": Int(type="int", low=1, high=8),
        "share": Float(type="float", low=0.85, high=0.95, step=0.01, when={"max_num_seqs": [2, 4]}),
        "dtype": Choice(type="choice", choices=("auto", "on", "1e3")),
        "eager": Switch(type="switch"),
    },
    rules=(Rule(forbid="max_num_seqs > 4 and eager", because="slow"),),
    goals=Goals(
        objectives=(Objective(metric="output_throughput_tok_s", direction="maximize"),),
        constraints=(Constraint(metric="ttft_ms.p99", at_most=500),),
    ),
    quality=Quality(max_tokens=16, prompts=("Why?",)),
    budget=Budget(trials=12),
)


def test_a_written_study_is_tidy() -> None:
    assert to_yaml(STUDY) == EXPECTED


def test_a_written_study_reads_back_as_the_same() -> None:
    assert parse_study(to_yaml(STUDY), "study.yaml", NamedKinds()) == STUDY


def test_the_first_line_tells_the_editor_its_schema() -> None:
    assert to_yaml(STUDY).splitlines()[0] == SCHEMA_LINE


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r\0"), max_size=12)
WORDS = st.sampled_from(
    ["on", "off", "yes", "null", "~", "1e3", "0x1F", "012", "1:30", ".nan", "2024-01-01", "", " a ", "a: b", "#", "- x"]
)
VALUES = st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60)
@given(
    description=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    flag=VALUES | TEXT | WORDS,
    choices=st.lists(TEXT | WORDS, min_size=1, max_size=4, unique=True),
    env=TEXT | WORDS,
)
def test_any_study_reads_back_as_the_same(description: str, flag: float | str, choices: list[str], env: str) -> None:
    engine = Part.model_validate({"kind": "vllm", "flags": {"flag": flag}, "env": {"VARIABLE": env}})
    space = {**STUDY.space, "choice": Choice(type="choice", choices=tuple(choices))}
    spec = STUDY.model_copy(update={"description": description, "engine": engine, "space": space})
    text = to_yaml(spec)
    assert parse_study(text, "study.yaml", NamedKinds()) == spec
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
    assert yaml.safe_load(text)["space"]["choice"]["choices"] == choices


@pytest.mark.parametrize("description", ["\n", "\n\n", "\ntext", "text\n", "text\n\n", "two\n\nlines\n"])
def test_empty_lines_of_a_description_are_kept(description: str) -> None:
    spec = STUDY.model_copy(update={"description": description})
    assert parse_study(to_yaml(spec), "study.yaml", NamedKinds()).description == description


EXPECTED = f"""\
{SCHEMA_LINE}
name: chat
description: |-
  two
  lines
model: {{name: tiny, path: builtin}}

# Every trial has these flags; trial 0 has no others.
engine:
  kind: vllm
  flags: {{max_model_len: 2048}}

# The load. Each level is measured on the same warm server.
benchmark:
  kind: http
  scenario: D(64,32)
  concurrency: [1, 4]

# What the search may change.
space:
  max_num_seqs: {{type: int, low: 1, high: 8}}
  share: {{type: float, low: 0.85, high: 0.95, step: 0.01, when: {{max_num_seqs: [2, 4]}}}}
  dtype: {{type: choice, choices: [auto, 'on', "1e3"]}}
  eager: {{type: switch}}

# Known to be wrong: refused before anything is launched.
rules:
- {{forbid: max_num_seqs > 4 and eager, because: slow}}

# What is wanted, and the promise that must be kept.
goals:
  objectives:
  - {{metric: output_throughput_tok_s, direction: maximize}}
  constraints:
  - {{metric: ttft_ms.p99, at_most: 500.0}}

# Flags that change more than the speed: which, and how far the answers may drift.
quality:
  prompts: ['Why?']
  max_tokens: 16

# The study ends at whichever comes first.
budget: {{trials: 12}}
"""
