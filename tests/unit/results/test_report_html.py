"""The report's page and its Markdown: whatever a study holds, it is text, and no address is asked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from reported import report_on, sweep_study

from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.files import Form, rendered
from optuna_tuner.results.report.html import as_script_data, html
from optuna_tuner.results.report.markdown import markdown

HOSTILE = "</script></pre><img src=http://evil.example/x onerror=alert(1)><script>alert(2)</script>|`$&amp;\u2028"


class Page(HTMLParser):
    """All tags with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.scripts: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  the parser's signature
        self._open = ""


@pytest.fixture(scope="module")
def hostile() -> Report:
    """Every text that comes from outside is an attack: the description, a flag's value, a log's line."""
    study = sweep_study()
    spec = study.spec.model_copy(update={"description": HOSTILE})
    trials = [
        replace(trial, params={**trial.params, "enable_prefix_caching": HOSTILE}, reason=HOSTILE, level=HOSTILE)
        if trial.number in {3, 4}
        else trial
        for trial in study.trials
    ]
    return report_on(replace(study, spec=spec, trials=tuple(trials)))


@pytest.fixture(scope="module")
def page(hostile: Report) -> Page:
    return Page(html(hostile))


def test_what_a_log_says_is_shown_and_never_run(hostile: Report, page: Page) -> None:
    assert HOSTILE in [row.reason for row in hostile.trials]
    assert [tag for tag, _ in page.tags if tag in {"img", "iframe", "object", "embed", "link", "base", "form"}] == []
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 3  # the figures' data, plotly, and what draws them
    assert [names for _, names in page.tags if any(name.startswith("on") for name in names)] == []


def test_no_address_is_in_any_tag(page: Page) -> None:
    assert [names for _, names in page.tags if {"src", "srcset", "action", "style"} & names.keys()] == []
    links = [names["href"] or "" for _, names in page.tags if "href" in names]
    assert links
    assert all(link.startswith("#") for link in links)


def test_only_its_own_scripts_may_run_by_their_hashes(page: Page) -> None:
    policy = next(names["content"] or "" for tag, names in page.tags if tag == "meta" and "http-equiv" in names)
    allowed = re.search(r"script-src ([^;]+)", policy)
    assert allowed is not None
    _, *own = page.scripts  # the first one is data
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in own)
    assert allowed[1].split() == [f"'sha256-{digest}'" for digest in digests]
    assert "default-src 'none'" in policy


def test_the_figures_are_all_there_and_read_back(hostile: Report, page: Page) -> None:
    assert set(json.loads(page.scripts[0])) == {plot.id for plot in hostile.plots}
    places = {names.get("id") for _, names in page.tags}
    assert {f"plot-{plot.id}" for plot in hostile.plots} <= places


def test_every_link_of_the_contents_leads_to_a_section(page: Page) -> None:
    places = {names.get("id") for _, names in page.tags}
    assert {(names["href"] or "")[1:] for _, names in page.tags if "href" in names} <= places


def test_data_cannot_end_the_element_that_holds_it() -> None:
    held = as_script_data({HOSTILE: HOSTILE})
    assert "<" not in held
    assert json.loads(held) == {HOSTILE: HOSTILE}


def test_markdown_shows_it_as_text_too(hostile: Report) -> None:
    text = markdown(hostile)
    assert "\\<script\\>alert(2)" in text
    rows = [line for line in text.splitlines() if line.startswith("| 4 |")]
    assert len([mark for mark in re.split(r"(?<!\\)\|", rows[-1]) if mark]) == 6  # no cell was added


@pytest.mark.parametrize("form", Form)
def test_what_no_file_can_hold_is_shown_as_a_question_mark(form: Form) -> None:
    study = sweep_study()
    trials = tuple(replace(each, reason="half \ud83d a face") if each.number == 4 else each for each in study.trials)
    assert b"half ? a face" in rendered(report_on(replace(study, trials=trials)), form).encode()


def test_figures_are_linked_only_where_they_lie_beside_it(hostile: Report) -> None:
    assert "plots/" not in markdown(hostile)
    assert "](plots/failures.png)" in rendered(hostile, Form.MARKDOWN, frozenset({"failures"}))


def test_a_page_without_figures_needs_no_script() -> None:
    study = sweep_study()
    bare = replace(study, trials=(), best=replace(study.best, trials=()), baseline=None, causes={})
    text = html(report_on(bare))
    assert "<script" not in text
    assert len(text) < 50_000
