from __future__ import annotations

import csv
import io
import json

import yaml

from optuna_tuner.results.diff import FlagChange, flag_changes
from optuna_tuner.results.tables import (
    STUDY_COLUMNS,
    TRIAL_COLUMNS,
    Table,
    study_document,
    study_table,
    trial_table,
)
from optuna_tuner.results.views import StudyView


def test_the_trial_table_has_stable_columns_then_objectives_then_parameters(study: StudyView) -> None:
    table = trial_table(study)
    assert table.columns == (
        *TRIAL_COLUMNS,
        "output_throughput_tok_s",
        "params.max_num_seqs",
        "params.gpu_memory_utilization",
        "params.enable_prefix_caching",
    )
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_row_holds_plain_values(study: StudyView) -> None:
    row = trial_table(study).documents()[4]
    assert (row["number"], row["state"], row["cause"]) == (4, "infeasible", "out_of_memory_pool")
    assert (row["output_throughput_tok_s"], row["params.max_num_seqs"]) == (None, 16)


def test_the_study_table_shows_best_and_gain(study: StudyView) -> None:
    row = study_table([study]).documents()[0]
    assert tuple(row) == STUDY_COLUMNS
    assert (row["name"], row["state"], row["best"], row["gain"]) == ("sample", "done", 800.0, 0.6)


def test_csv_can_be_read_back(study: StudyView) -> None:
    rows = list(csv.DictReader(io.StringIO(trial_table(study).csv())))
    assert len(rows) == len(study.trials)
    assert rows[8]["output_throughput_tok_s"] == "800"


def test_a_cell_cannot_become_a_formula_in_a_spreadsheet() -> None:
    text = Table(columns=("name",), rows=(("=cmd()",), ("@x",), (-1.5,), ("plain",))).csv()
    assert text.splitlines() == ["name", "'=cmd()", "'@x", "-1.5", "plain"]


def test_a_study_document_survives_json_and_yaml(study: StudyView) -> None:
    document = study_document(study)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert yaml.safe_load(yaml.safe_dump(document)) == document
    assert document["counts"] == {
        "complete": 8,
        "feasible": 6,
        "pruned": 2,
        "failed": 1,
        "repeated": 0,
        "again": 0,
        "running": 0,
        "queued": 0,
    }


def test_the_best_flags_are_shown_against_the_fixed_ones(study: StudyView) -> None:
    best = study_document(study)["best"]
    assert isinstance(best, dict)
    assert best["flags"] == [
        {"flag": "enable_prefix_caching", "default": None, "best": True},
        {"flag": "gpu_memory_utilization", "default": None, "best": 0.8},
        {"flag": "max_num_seqs", "default": None, "best": 256},
        {"flag": "dtype", "default": "bfloat16", "best": "bfloat16"},
    ]


def test_a_flag_that_is_sampled_replaces_the_fixed_one() -> None:
    assert flag_changes({"a": 1, "b": 2}, {"a": 3}) == (
        FlagChange(flag="a", default=1, best=3),
        FlagChange(flag="b", default=2, best=2),
    )


def test_one_and_true_are_not_the_same_value() -> None:
    assert flag_changes({"a": 1}, {"a": True})[0].changed
