"""What a person sees: the dashboard in a real browser."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import psutil
import pytest
from optuna.storages import RDBStorage

from optuna_tuner import Tuner
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.results.dashboard.adapter import DashboardStorage
from optuna_tuner.results.dashboard.filling import fill
from optuna_tuner.results.dashboard.server import dashboard_app, make_server
from optuna_tuner.results.dashboard.shelf import Shelf
from optuna_tuner.results.trials import TrialState
from optuna_tuner.results.views import study_view
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.testing.sample_study import BEGAN, sample_study
from optuna_tuner.values import Cause, Phase

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000

playwright_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
    pytest.mark.timeout(240),
]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    storage = RDBStorage(f"sqlite:///{tmp_path / 'studies.db'}")
    sample, folder = sample_study("llama on one GPU"), tmp_path / "artifacts" / "study-1" / "attempt-8"
    folder.mkdir(parents=True)
    argv = ["vllm", "serve", "tiny", "--max-num-seqs", "256", "--enable-prefix-caching"]
    (folder / "launch.json").write_text(json.dumps({"body": {"argv": argv}}))
    (folder / "server.log").write_text("INFO: Application startup complete.\n")
    shelf = Shelf(tmp_path / "artifacts", lambda study_id, attempt_id: tmp_path / "artifacts" / study_id / attempt_id)
    study = study_view(sample.record, sample.spec, sample.attempts, sample.workers, BEGAN + timedelta(hours=1))
    sample.tell(storage)
    application = dashboard_app(
        DashboardStorage(storage, storage),
        shelf,
        lambda _study_id: fill(storage, study, shelf),
        lambda _trial_id: None,
        "127.0.0.1",
    )
    with make_server(application, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
    storage.remove_session()
    storage.engine.dispose()


@contextmanager
def browsing(url: str, profile: Path) -> Iterator[Page]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=QUIET, base_url=url, viewport={"width": 1400, "height": 1000}
        )
        browser.set_default_timeout(PATIENCE_MS)
        yield browser.new_page()
        browser.close()


@pytest.fixture
def page(url: str, tmp_path: Path) -> Iterator[Page]:
    with browsing(url, tmp_path / "profile") as opened:
        yield opened


def test_the_study_page_shows_the_feasible_best_and_our_figures(page: Page, tmp_path: Path) -> None:
    page.goto("/dashboard/studies/1")
    best = page.get_by_text("Best Trial (number=8)")
    best.wait_for()
    page.get_by_text("Where the time went").first.wait_for()
    page.screenshot(path=tmp_path / "study.png", full_page=True)
    assert page.get_by_text("Best Trial (number=3)").count() == 0


def test_the_note_recommends_the_flags(page: Page, tmp_path: Path) -> None:
    page.goto("/dashboard/studies/1/note")
    page.get_by_role("heading", name="Recommended flags").wait_for()
    page.screenshot(path=tmp_path / "note.png", full_page=True)
    assert page.get_by_text("vllm serve tiny --max-num-seqs 256 --enable-prefix-caching").is_visible()
    assert page.get_by_role("cell", name="out_of_memory_pool").is_visible()


def test_the_trial_page_lists_its_files(page: Page, tmp_path: Path) -> None:
    page.goto("/dashboard/studies/1/trials?numbers=8")
    page.get_by_text("server.log").first.wait_for()
    page.get_by_role("heading", name="Load levels").wait_for()
    page.screenshot(path=tmp_path / "trial.png", full_page=True)
    assert page.get_by_text("launch.json").first.is_visible()


def test_no_page_asks_another_host_or_breaks(page: Page, url: str) -> None:
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    for path in ("", *(f"/studies/1{each}" for each in ("", "/analytics", "/trials", "/note", "/smartSelection"))):
        page.goto(f"/dashboard{path}")
        page.wait_for_load_state("networkidle")
    assert [each for each in asked if not each.startswith((url, "data:", "blob:"))] == []
    assert broken == []


SLOW = {
    "name": "slow",
    "model": {"name": "tiny"},
    "engine": {"kind": "fake", "flags": {"ttft_ms": 5}},
    "benchmark": {"kind": "http", "scenario": "D(8,400)", "concurrency": [1], "requests": 100},
    "space": {"itl_ms": {"type": "int", "low": 40, "high": 50}},
    "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
    "budget": {"trials": 2},
    "limits": {"benchmark_s": 600},
}


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuner]:
    """A study of two trials of several minutes, one worker that runs it, and everything gone at the end."""
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPTUNA_TUNER_STORAGE", raising=False)
    tuner = Tuner()
    tuner.create(StudySpec.model_validate(SLOW))
    with command("run", "slow"):
        yield tuner
        tuner.cancel("slow")
    tuner.close()


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command line as a process, interrupted at the end and waited for."""
    program = Path(sys.executable).with_name("optuna-tuner")
    with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def wait_for(look: Callable[[], object], seconds: float = 60.0) -> None:
    assert poll(lambda: look() or None, Deadline.after(seconds)) is not None, "waited in vain"


def measured(tuner: Tuner, number: int) -> bool:
    """Whether this trial's server is under load now."""
    found = [trial for trial in tuner.trials("slow") if trial.number == number]
    return any((trial.state, trial.phase) == (TrialState.RUNNING, Phase.BENCHMARK) for trial in found)


def servers(home: Path, attempt_id: str) -> list[int]:
    """The fake servers of an attempt that are alive."""
    wanted = {"OPTUNA_TUNER_HOME": str(home), "OPTUNA_TUNER_LEDGER": attempt_id}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ() if "optuna_tuner.testing.fake_server" in process.cmdline() else {}
            if all(value in environment.get(name, "") for name, value in wanted.items()):
                found.append(process.pid)
    return found


def test_the_button_fail_trial_cancels_the_trial_and_the_study_goes_on(slow: Tuner, tmp_path: Path) -> None:
    wait_for(lambda: measured(slow, 0))
    attempt = slow.trial("slow", 0).attempt_id
    assert servers(tmp_path / "home", attempt)
    with command("dashboard", "--port", "0") as dashboard:
        assert dashboard.stderr is not None
        url = next(iter(re.findall(r"http://[\d.:]+", dashboard.stderr.readline())))
        with browsing(url, tmp_path / "profile") as page:
            page.goto("/dashboard/studies/1/trials?numbers=0")
            page.get_by_text("cancels this trial").wait_for()
            page.get_by_role("button", name="Fail Trial").click()
            page.get_by_text("Successfully updated trial").wait_for()
            page.screenshot(path=tmp_path / "pressed.png", full_page=True)
            wait_for(lambda: not servers(tmp_path / "home", attempt), 30)
            wait_for(lambda: slow.trial("slow", 0).state is TrialState.STOPPED)
            assert page.get_by_text("Failed to").count() == 0
    assert slow.trial("slow", 0).cause is Cause.CANCELLED
    wait_for(lambda: measured(slow, 1))
