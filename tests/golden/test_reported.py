"""A whole report in Markdown, byte by byte. `python tests/golden/test_reported.py` writes it anew."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # so that it runs as a script too

from reported import report_on, sweep_study

from optuna_tuner import __version__
from optuna_tuner.results.report.efficiency import Price
from optuna_tuner.results.report.markdown import markdown

PAGE = Path(__file__).parent / "reported" / "report.md"


def text() -> str:
    page = markdown(report_on(sweep_study(), Price(gpu_hour=3.6, currency="EUR")))
    return page.replace(f"optuna-tuner {__version__}", "optuna-tuner VERSION")


def test_what_is_reported_is_what_was_agreed() -> None:
    assert text() == PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
