"""The report in a real browser: it draws, asks for nothing, runs nothing foreign, and its first page is one sheet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from reported import bench_study, report_on, sweep_study

from optuna_tuner.results.report.benchmark import as_measured
from optuna_tuner.results.report.files import Form, folder_files, rendered

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 120_000
A4_PX = (688, 1024)  # at 96 dpi, without the margins of the page's style sheet
HOSTILE = "<script>document.title='run'</script><img src='http://127.0.0.1:9/x'>"

playwright_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
    pytest.mark.timeout(280),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sweep, one of whose trials failed with a hostile line, as the command writes it."""
    study = sweep_study()
    trials = tuple(replace(each, reason=HOSTILE) if each.number == 4 else each for each in study.trials)
    made = report_on(replace(study, trials=trials))
    files, lack = folder_files(made, plots=True)
    assert lack == ""
    assert {name for name in files if name.startswith("plots/")} == {f"plots/{plot.id}.png" for plot in made.plots}
    folder = tmp_path_factory.mktemp("report")
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def shown(browser: Browser, file: Path) -> Page:
    """The page, drawn in the dark, of a report that asked for nothing and has nothing to complain of."""
    opened = browser.new_page(color_scheme="dark", viewport={"width": A4_PX[0], "height": A4_PX[1]})
    opened.set_default_timeout(PATIENCE_MS)
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(file.as_uri())
    opened.locator("#plot-phases .main-svg").first.wait_for()
    assert asked == [file.as_uri()]
    assert said == []
    return opened


@pytest.fixture(scope="module")
def page(browser: Browser, folder: Path) -> Page:
    return shown(browser, folder / "report.html")


def test_every_figure_is_drawn_offline_and_nothing_foreign_runs(page: Page) -> None:
    places = page.locator(".plot").count()
    assert places >= 6
    assert page.locator(".plot .plot-container").count() == places
    assert page.title() == "sample: optuna-tuner report"
    assert page.get_by_text(HOSTILE).count() >= 1


def demand_dark_then_white_on_one_sheet(page: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    text = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    assert (page.evaluate(paper), page.evaluate(text)) == ("rgb(15, 20, 25)", "rgb(230, 237, 243)")
    page.emulate_media(media="print")
    assert (page.evaluate(paper), page.evaluate(text)) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    box = page.locator(".first").bounding_box()
    assert box is not None
    assert box["height"] <= A4_PX[1]


def test_it_is_dark_in_the_dark_and_white_on_paper_where_the_first_page_is_one_sheet(page: Page) -> None:
    demand_dark_then_white_on_one_sheet(page)


@pytest.mark.parametrize("measured", [None, 8])
def test_the_report_of_a_benchmark_whole_or_interrupted_reads_as_well(
    browser: Browser, tmp_path: Path, measured: int | None
) -> None:
    file = tmp_path / "bench.html"
    made = report_on(as_measured(bench_study(measured), tmp_path))
    file.write_text(rendered(made, Form.HTML), encoding="utf-8")
    page = shown(browser, file)
    assert page.locator(".plot .plot-container").count() == page.locator(".plot").count() >= 3
    assert page.get_by_text("D(512,64)").count() >= 1
    demand_dark_then_white_on_one_sheet(page)
    page.close()


def test_plots_are_png_of_the_figures(folder: Path) -> None:
    for plot in (folder / "plots").iterdir():
        content = plot.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert int.from_bytes(content[16:20], "big") == 2 * 680  # two pixels for one
