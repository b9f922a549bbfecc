from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.mending import mend, mend_file

OLD = """\
name: old  # max_seqs stays here
model: {name: m, path: m}
engine:
  kind: sglang
  version: 0.5.23
  flags:
    --piecewise-cuda-graph-max-tokens: 64  # of prefill
benchmark: {kind: script, command: [x], metrics: [score]}
space:
  cuda-graph-max-bs: {type: choice, choices: [8, 64]}
  "schedule_policy":
    type: choice
    choices: [fcfs, lpm]
    when: {cuda_graph_max_bs: [8]}
rules:
  - forbid: cuda_graph_max_bs > 32 and schedule_policy == "lpm"
goals:
  objectives: [{metric: score, direction: maximize}]
"""
NEW = (
    OLD.replace("--piecewise-cuda-graph-max-tokens", "--cuda-graph-max-bs-prefill")
    .replace("  cuda-graph-max-bs:", "  cuda-graph-max-bs-decode:")
    .replace("cuda_graph_max_bs", "cuda_graph_max_bs_decode")
)


def test_a_study_of_an_old_version_is_refused_with_the_new_names() -> None:
    with pytest.raises(SpecError) as caught:
        parse_study(OLD, "study.yaml", InstalledKinds())
    assert [(fault.line, fault.path) for fault in caught.value.faults] == [
        (7, "engine.flags.--piecewise-cuda-graph-max-tokens"),
        (10, "space.cuda-graph-max-bs"),
    ]
    assert "is gone from sglang 0.5.23" in caught.value.faults[1].message
    assert caught.value.faults[1].message.endswith("now --cuda-graph-max-bs-decode")


def test_names_are_changed_in_the_style_in_which_they_were_written_and_nothing_else() -> None:
    mended = mend(OLD, "study.yaml", InstalledKinds())
    assert mended.text == NEW
    assert mended.renamed == {
        "--piecewise-cuda-graph-max-tokens": "--cuda-graph-max-bs-prefill",
        "cuda-graph-max-bs": "cuda-graph-max-bs-decode",
    }
    assert parse_study(mended.text, "study.yaml", InstalledKinds()).name == "old"


def test_what_is_mended_is_left_alone() -> None:
    assert mend(NEW, "study.yaml", InstalledKinds()).renamed == {}


def test_a_list_is_not_moved_to_a_flag_that_takes_one_number() -> None:
    old = OLD.replace("kind: sglang", "kind: vllm").replace("0.5.23", "0.33.0")
    old = old.replace("--piecewise-cuda-graph-max-tokens: 64", "cuda-graph-sizes: [1, 8]").replace(
        "cuda-graph-max-bs", "n"
    )
    one = old.replace("[1, 8]", "8")
    assert "cuda-graph-sizes" not in mend(old, "study.yaml", InstalledKinds()).renamed
    assert mend(one, "study.yaml", InstalledKinds()).renamed["cuda-graph-sizes"] == "max-cudagraph-capture-size"


def test_a_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    file, link = tmp_path / "study.yaml", tmp_path / "link.yaml"
    file.write_text(OLD, encoding="utf-8")
    file.chmod(0o640)
    link.symlink_to(file)
    assert len(mend_file(link, InstalledKinds())) == 2
    assert (file.read_text(encoding="utf-8"), file.stat().st_mode & 0o777, link.is_symlink()) == (NEW, 0o640, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.yaml", "study.yaml"]


def test_a_file_that_is_no_yaml_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("a: [", encoding="utf-8")
    with pytest.raises(SpecError):
        mend_file(file, InstalledKinds())
    assert file.read_text(encoding="utf-8") == "a: ["


def test_the_shelf_has_the_versions_that_these_tests_speak_of() -> None:
    assert {"0.5.12", "0.5.23"} <= set(shelf.versions("sglang"))
