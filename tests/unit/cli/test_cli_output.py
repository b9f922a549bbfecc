"""Data on stdout in the format that was asked for; everything else on stderr."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import Result

from optuna_tuner.spec.study import Part
from optuna_tuner.store.records import AttemptState

if TYPE_CHECKING:
    from pathlib import Path

    from fake_tuner import FakeTuner

Invoke = Callable[..., Result]
DOCUMENTS = (
    ("studies",),
    ("trials", "sample"),
    ("best", "sample"),
    ("show", "sample"),
    ("show", "sample", "8"),
    ("why", "sample"),
)


@pytest.mark.parametrize("command", DOCUMENTS, ids=" ".join)
def test_json_and_yaml_say_the_same(invoke: Invoke, command: tuple[str, ...]) -> None:
    as_json = json.loads(invoke(*command, "-o", "json").stdout)
    assert as_json
    assert yaml.safe_load(invoke(*command, "--output", "yaml").stdout) == as_json


def test_trials_as_csv_have_a_column_for_each_parameter_and_objective(invoke: Invoke) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("trials", "sample", "-o", "csv").stdout, newline="")))
    assert len(rows) == 11
    assert rows[8]["output_throughput_tok_s"] == "800"
    assert rows[8]["params.max_num_seqs"] == "256"
    assert rows[4]["cause"] == "out_of_memory_pool"


def test_value_is_the_first_column_alone(invoke: Invoke) -> None:
    assert invoke("studies", "-o", "value").stdout == "sample\n"
    assert invoke("trials", "sample", "-o", "value").stdout.split() == [str(number) for number in range(11)]
    assert float(invoke("best", "sample", "-o", "value").stdout) == 800


def test_trials_can_be_asked_for_by_state(invoke: Invoke) -> None:
    found = json.loads(invoke("trials", "sample", "--state", "failed", "-o", "json").stdout)
    assert [trial["number"] for trial in found] == [6]


def test_a_table_names_each_trial_with_its_flags_and_cause(invoke: Invoke) -> None:
    lines = invoke("trials", "sample").stdout.splitlines()
    assert lines[0].split() == ["trial", "state", "output_throughput_tok_s", "cause", "took", "flags"]
    assert "engine's default" in lines[1]
    assert "out_of_memory_pool" in lines[5]
    assert "max_num_seqs=256" in lines[9]


def test_why_says_what_each_flag_is_worth_and_results_which_are_enough(invoke: Invoke) -> None:
    said = invoke("why", "sample").stdout
    assert said.splitlines()[1].split() == ["max_num_seqs", "128", "256", "25.0", "%", "2.0", "%", "yes"]
    for words in (said, invoke("results", "sample").stdout):
        assert "1 of 2 flags keep the gain (max_num_seqs)" in words
        assert "9 more trials could bring about 1.2 %." in words


def test_the_best_breaks_no_constraint(invoke: Invoke) -> None:
    found = json.loads(invoke("best", "sample", "-o", "json").stdout)
    assert [trial["number"] for trial in found["trials"]] == [8]


def test_best_ends_with_1_when_nothing_is_feasible(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = replace(tuner.sample, attempts=tuner.sample.attempts[3:4])
    result = invoke("best", "sample")
    assert result.exit_code == 1
    assert not result.stdout
    assert "Nothing feasible" in result.stderr


def test_results_compare_the_best_with_the_default(invoke: Invoke) -> None:
    result = invoke("results", "sample")
    assert "best (trial 8)" in result.stdout
    assert "+60.0 %" in result.stdout
    assert "ttft_ms.p99 <= 200" in result.stdout
    assert "max_num_seqs" in result.stdout
    assert "optuna-tuner show sample 8" in result.stderr


def test_results_in_the_older_task_format_are_json(invoke: Invoke) -> None:
    document = json.loads(invoke("results", "sample", "--format", "task").stdout)
    assert document["total_experiments"] == len(document["all_results"])
    assert document["best_result"]["status"]


def test_results_without_anything_feasible_say_so(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = replace(tuner.sample, attempts=tuner.sample.attempts[3:5])
    result = invoke("results", "sample")
    assert result.exit_code == 0
    assert "Nothing feasible among 2 trials" in result.stdout


def test_show_says_of_a_failed_trial_what_to_conclude(invoke: Invoke) -> None:
    said = invoke("show", "sample", "4").stdout
    assert "out_of_memory_pool" in said
    assert "No available memory for the cache blocks" in said
    assert "give the server a larger memory fraction" in said


def test_show_sets_what_was_asked_beside_what_the_server_says_otherwise(invoke: Invoke) -> None:
    said = invoke("show", "sample", "8")
    lines = said.stdout.splitlines()
    assert any(line.split() == ["max_num_seqs", "256", "128"] for line in lines)
    assert "The server tells 1 more, which were not asked for" in said.stderr
    assert any(line.split() == ["dtype", "bfloat16"] for line in lines)
    assert any(line.split() == ["ttft_ms.p99", "90", "180"] for line in lines)


def test_output_that_is_no_terminal_has_no_colours(invoke: Invoke) -> None:
    for command in DOCUMENTS:
        assert "\x1b" not in invoke(*command).output


def test_a_log_is_passed_through_as_it_is(invoke: Invoke, tuner: FakeTuner) -> None:
    assert invoke("logs", "sample", "2", "--follow").stdout == "loading [model]\nserving\n"
    assert ("logs", "sample", 2, True) in tuner.asked


def test_no_studies_is_an_empty_table_and_a_hint(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = replace(tuner.sample, attempts=())
    result = invoke("studies", "-o", "json")
    assert json.loads(result.stdout) == []
    assert "optuna-tuner demo" in result.stderr


def test_a_table_without_rows_is_not_begun(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = replace(
        tuner.sample, attempts=(replace(tuner.sample.attempts[6], outcome=None, state=AttemptState.RUNNING),)
    )
    said = invoke("show", "sample", "6").stdout
    assert "Flags" in said
    assert "Constraints" not in said
    assert "Phases" not in said


def test_results_without_a_flag_have_no_table_of_flags(invoke: Invoke, tuner: FakeTuner) -> None:
    bare = tuner.sample.spec.model_copy(update={"engine": Part(kind="vllm")})
    tuner.sample = replace(tuner.sample, spec=bare, attempts=tuner.sample.attempts[:1])
    said = invoke("results", "sample").stdout
    assert "best (trial 0)" in said
    assert not any(line.startswith("flag") for line in said.splitlines())


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_trials_can_be_written_to_a_file_which_is_not_overwritten_unasked(
    invoke: Invoke, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"trials{suffix}"
    done = invoke("trials", "sample", "--file", str(file))
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"trials to {file}" in done.stderr
    before = file.read_bytes()
    again = invoke("trials", "sample", "--file", str(file))
    assert (again.exit_code, file.read_bytes()) == (2, before)
    assert invoke("trials", "sample", "--file", str(file), "--force").exit_code == 0


def test_a_file_of_another_kind_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("trials", "sample", "--file", str(tmp_path / "trials.ods"))
    assert done.exit_code == 2
    assert "ends with none of .csv, .parquet, .xlsx" in done.stderr
    assert not list(tmp_path.iterdir())
