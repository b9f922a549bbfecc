"""A report as files."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.html import html
from optuna_tuner.results.report.markdown import markdown
from optuna_tuner.results.report.plot_files import browser, drawn


class Form(StrEnum):
    """What a report is written as; the value is what its file's name ends with."""

    HTML = ".html"
    MARKDOWN = ".md"
    JSON = ".json"


def rendered(report: Report, form: Form, plots: frozenset[str] = frozenset()) -> str:
    """One form of a report. `plots` are the figures that lie beside it in plots/."""
    if form is Form.JSON:
        return report.model_dump_json(indent=2) + "\n"
    return html(report) if form is Form.HTML else markdown(report, plots)


def folder_files(report: Report, *, plots: bool) -> tuple[Mapping[str, bytes], str]:
    """All forms and, where they are asked for, the figures: content by name. And why figures are missing, in words."""
    program = browser() if plots else None
    pictures = drawn(report.plots, program) if program and report.plots else {}
    files = {f"plots/{name}.png": content for name, content in pictures.items()}
    for form in Form:
        files[f"report{form}"] = rendered(report, form, frozenset(pictures)).encode()
    return files, _why(len(report.plots) - len(pictures), program) if plots else ""


def _why(missing: int, program: str | None) -> str:
    if not missing:
        return ""
    if program is None:
        return "No plots/*.png: they need Chromium or Chrome on this machine (Debian: apt-get install chromium)."
    return f"{missing} of the figures are not in plots/: {program} did not draw them. They are in report.html."
