"""Tables as files, read back by other libraries than those that wrote them, where there are any."""

from __future__ import annotations

import io
import sys

import openpyxl
import pytest
from pyarrow import parquet

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.results.table_files import FORMS, encoded
from optuna_tuner.results.tables import Table, trial_table, whole_trial_table
from optuna_tuner.results.views import StudyView

MIXED = Table(
    columns=("flag", "share", "count", "on", "none"),
    rows=(("auto", 1, 3, True, None), (8, 0.5, 4, False, None), (None, None, None, None, None)),
)


def test_the_whole_table_has_the_trial_table_then_every_figure_and_the_reason(study: StudyView) -> None:
    table, short = whole_trial_table(study), trial_table(study)
    assert table.columns[: len(short.columns)] == short.columns
    assert "metrics.output_throughput_tok_s" in table.columns
    row = table.documents()[4]
    assert (row["number"], row["feasible"], row["attempt"]) == (4, False, study.trials[4].attempt_id)
    assert row["reason"] == study.trials[4].reason


def test_parquet_gives_back_what_went_in_with_one_type_a_column() -> None:
    read = parquet.read_table(io.BytesIO(encoded(MIXED, ".parquet")))
    assert read.to_pydict() == {
        "flag": ["auto", "8", None],
        "share": [1.0, 0.5, None],
        "count": [3, 4, None],
        "on": [True, False, None],
        "none": [None, None, None],
    }


def test_excel_gives_back_what_went_in_and_runs_nothing() -> None:
    table = Table(columns=("name", "value"), rows=(("=cmd()", 1.5), ("https://example.org", None), ("plain", True)))
    sheet = openpyxl.load_workbook(io.BytesIO(encoded(table, ".xlsx")))["trials"]
    assert [[cell.value for cell in row] for row in sheet.rows] == [
        ["name", "value"],
        ["=cmd()", 1.5],
        ["https://example.org", None],
        ["plain", True],
    ]
    assert (sheet["A2"].data_type, sheet["A3"].hyperlink) == ("s", None)


@pytest.mark.parametrize("suffix", FORMS)
def test_a_study_can_be_written_in_every_form(study: StudyView, suffix: str) -> None:
    assert encoded(whole_trial_table(study), suffix)


@pytest.mark.parametrize(("suffix", "module"), [(".parquet", "pyarrow"), (".xlsx", "xlsxwriter")])
def test_a_missing_library_is_said_with_what_installs_it(
    suffix: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EnvironmentFaultError, match=rf"{module} is missing: pip install 'optuna-tuner\[tables\]'"):
        encoded(MIXED, suffix)
