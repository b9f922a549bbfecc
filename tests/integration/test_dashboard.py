"""The real optuna-dashboard on a real database, behind our adapter and our guard."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import optuna
import pytest
from optuna.storages import RDBStorage

from optuna_tuner.errors import EnvironmentFaultError, NotFoundError
from optuna_tuner.results.dashboard.adapter import DashboardStorage
from optuna_tuner.results.dashboard.filling import fill, hang
from optuna_tuner.results.dashboard.server import dashboard_app, make_server
from optuna_tuner.results.dashboard.shelf import Shelf
from optuna_tuner.results.importance import importance_of
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.store.store import Store
from optuna_tuner.testing.sample_study import BEGAN, LATENCY, THROUGHPUT, SampleStudy, sample_study
from optuna_tuner.values import Params

SERVE = """
import sys
from pathlib import Path
from optuna_tuner.results.dashboard.server import serve
from optuna_tuner.store.store import Store

with Store.open(sys.argv[1]) as store:
    ready = lambda url: print(url, flush=True)
    serve(store, host="127.0.0.1", port=0, artifact_root=Path(sys.argv[2]), ready=ready)
"""

Show = Callable[[SampleStudy], httpx.Client]
Page = dict[str, Any]


def view_of(sample: SampleStudy) -> StudyView:
    return study_view(sample.record, sample.spec, sample.attempts, sample.workers, BEGAN + timedelta(hours=1))


def nothing_runs(trial_id: int) -> None:
    raise NotFoundError(f"no trial {trial_id} runs")


@contextmanager
def shown(storage: RDBStorage, shelf: Shelf, refresh: Callable[[int], None]) -> Iterator[httpx.Client]:
    application = dashboard_app(DashboardStorage(storage, storage), shelf, refresh, nothing_runs, "127.0.0.1")
    with make_server(application, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", timeout=60) as client:
                yield client
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RDBStorage]:
    made = RDBStorage(f"sqlite:///{tmp_path / 'studies.db'}")
    yield made
    made.remove_session()
    made.engine.dispose()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folders of the sample's trials: trial 8 has a launch, a log, a report, and two things not to be shown."""
    trial = tmp_path / "artifacts" / "study-1" / "attempt-8"
    (trial / "reports").mkdir(parents=True)
    argv = ["vllm", "serve", "tiny", "--max-num-seqs", "256"]
    (trial / "launch.json").write_text(json.dumps({"deployer": "local", "name": "x", "body": {"argv": argv}}))
    (trial / "server.log").write_text("INFO ready\n<script>alert(1)</script>\n")
    (trial / "reports" / "level-8.json").write_text("{}")
    (trial / "core.bin").write_bytes(b"\0")
    (trial / "passwd.txt").symlink_to("/etc/passwd")
    return tmp_path / "artifacts"


@pytest.fixture
def shelf(files: Path) -> Shelf:
    return Shelf(files, lambda study_id, attempt_id: files / study_id / attempt_id)


@pytest.fixture
def show(storage: RDBStorage, shelf: Shelf) -> Iterator[Show]:
    with shown(storage, shelf, lambda _study_id: None) as client:

        def tell(sample: SampleStudy) -> httpx.Client:
            sample.tell(storage)
            fill(storage, view_of(sample), shelf)
            return client

        yield tell


def page_of(client: httpx.Client, study_id: int = 1) -> Page:
    answer = client.get(f"/api/studies/{study_id}")
    assert answer.status_code == 200
    page: Page = answer.json()
    return page


def best_numbers(page: Page) -> list[int]:
    return sorted(trial["number"] for trial in page["best_trials"])


def test_an_infeasible_best_is_never_shown_with_one_objective(show: Show, storage: RDBStorage) -> None:
    page = page_of(show(sample_study()))
    assert best_numbers(page) == [8]
    # Optuna's own storage says otherwise: when it no longer does, the adapter may go.
    assert storage.get_best_trial(1).number == 3


def test_an_infeasible_best_is_never_shown_with_two_objectives(show: Show, storage: RDBStorage) -> None:
    page = page_of(show(sample_study(objectives=(THROUGHPUT, LATENCY))))
    assert best_numbers(page) == [2, 8]
    assert best_numbers(page) == sorted(
        trial.number for trial in optuna.load_study(study_name="sample", storage=storage).best_trials
    )


@pytest.mark.parametrize("objectives", [(THROUGHPUT,), (THROUGHPUT, LATENCY)])
def test_when_nothing_is_feasible_no_best_is_shown(show: Show, objectives: tuple[Any, ...]) -> None:
    sample = sample_study(objectives=objectives)
    hopeless = SampleStudy(
        spec=sample.spec, record=sample.record, attempts=tuple(sample.attempts[each] for each in (3, 4, 9))
    )
    page = page_of(show(hopeless))
    assert len(page["trials"]) == 3
    assert page["best_trials"] == []


def test_infeasible_trials_carry_their_violation_so_that_they_are_drawn_grey(show: Show) -> None:
    constraints = {trial["number"]: trial["constraints"] for trial in page_of(show(sample_study()))["trials"]}
    assert all(value <= 0 for value in constraints[8])
    assert max(constraints[3]) == pytest.approx(3.5)
    assert constraints[4] == [1.0, 1.0]


def test_the_baseline_does_not_empty_the_space_that_is_plotted(show: Show) -> None:
    page = page_of(show(sample_study()))
    assert sorted(each["name"] for each in page["intersection_search_space"]) == [
        "enable_prefix_caching",
        "gpu_memory_utilization",
        "max_num_seqs",
    ]


def test_importances_in_the_browser_are_those_of_the_report(show: Show, storage: RDBStorage) -> None:
    answer = show(sample_study()).get("/api/studies/1/param_importances").json()["param_importances"]
    found = importance_of(storage.get_all_trials(1))
    assert {each["name"]: each["importance"] for each in answer[0]} == pytest.approx(dict(found.shares))
    assert len(found.shares) == 3


def test_the_study_page_has_note_attributes_and_figures(show: Show) -> None:
    page = page_of(show(sample_study()))
    attributes = {each["key"]: each["value"] for each in page["user_attrs"]}
    assert attributes["engine"] == "vllm"
    assert attributes["engine_version"] == "0.11.0"
    assert attributes["slo"] == "ttft_ms.p99 <= 200"
    assert attributes["best_trial"] == "8"
    assert "vllm serve tiny --max-num-seqs 256" in page["note"]["body"]
    assert {"history-0", "causes", "phases", "load-ttft_ms.p99"} <= {
        each["id"] for each in page["plotly_graph_objects"]
    }


def test_filling_twice_writes_nothing(show: Show, storage: RDBStorage, shelf: Shelf) -> None:
    sample = sample_study()
    show(sample)
    before = storage.get_study_system_attrs(1), storage.get_study_user_attrs(1)
    fill(storage, view_of(sample), shelf)
    assert (storage.get_study_system_attrs(1), storage.get_study_user_attrs(1)) == before


def test_a_users_note_is_kept_and_can_be_written_in_the_browser(show: Show, storage: RDBStorage, shelf: Shelf) -> None:
    client = show(sample_study())
    version = page_of(client)["note"]["version"]
    answer = client.put("/api/studies/1/note", json={"version": version + 1, "body": "my own words"})
    assert answer.status_code == 204
    fill(storage, view_of(sample_study()), shelf)
    assert page_of(client)["note"]["body"] == "my own words"


def test_a_trial_lists_its_files_and_nothing_else(show: Show) -> None:
    client = show(sample_study())
    trial = next(each for each in page_of(client)["trials"] if each["number"] == 8)
    listed = {each["filename"]: each for each in trial["artifacts"]}
    assert set(listed) == {"launch.json", "server.log", "reports/level-8.json"}
    answer = client.get(f"/artifacts/1/{trial['trial_id']}/{listed['server.log']['artifact_id']}")
    assert answer.text.startswith("INFO ready")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_a_report_that_hangs_is_a_file_of_the_study_and_the_next_one_takes_its_place(
    show: Show, storage: RDBStorage, shelf: Shelf
) -> None:
    client = show(sample_study())
    for content in (b"<p>first", b"<p>second"):
        hang(storage, "sample", shelf.lay("study-1", "report.html", content))
    (listed,) = page_of(client)["artifacts"]
    answer = client.get(f"/artifacts/1/{listed['artifact_id']}")
    assert (listed["filename"], answer.content) == ("report.html", b"<p>second")
    assert listed["mimetype"] == "application/octet-stream"  # a page with scripts is for the user to open


def test_a_study_cannot_be_deleted_from_the_browser(show: Show, storage: RDBStorage) -> None:
    client = show(sample_study())
    assert client.request("DELETE", "/api/studies/1", json={}).status_code == 403
    assert [study.study_name for study in storage.get_all_studies()] == ["sample"]


def test_a_foreign_host_name_is_refused(show: Show) -> None:
    client = show(sample_study())
    assert client.get("/api/studies", headers={"Host": "evil.example"}).status_code == 403


def test_looking_at_a_study_brings_its_page_up_to_date_once_in_a_while(storage: RDBStorage, shelf: Shelf) -> None:
    sample = sample_study()
    sample.tell(storage)
    filled: list[int] = []

    def refresh(study_id: int) -> None:
        filled.append(study_id)
        fill(storage, view_of(sample), shelf)

    with shown(storage, shelf, refresh) as client:
        client.get("/api/studies")
        assert filled == []
        assert "Best (trial 8)" in page_of(client)["note"]["body"]
        page_of(client)
    assert filled == [1]


def test_a_page_is_shown_even_when_it_cannot_be_brought_up_to_date(storage: RDBStorage, shelf: Shelf) -> None:
    sample_study().tell(storage)

    def refresh(study_id: int) -> None:
        raise KeyError(study_id)

    with shown(storage, shelf, refresh) as client:
        assert best_numbers(page_of(client)) == [8]


def test_a_port_that_is_taken_is_a_clear_error(storage: RDBStorage, shelf: Shelf) -> None:
    with shown(storage, shelf, lambda _study_id: None) as client:
        port = client.base_url.port or 0
        with pytest.raises(EnvironmentFaultError, match="choose another --port"):
            make_server(lambda _environ, _start: [], "127.0.0.1", port)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a real store with the sample's first four trials, as workers leave them."""
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    url, sample = f"sqlite:///{tmp_path / 'store.db'}", sample_study()
    few = SampleStudy(spec=sample.spec, record=sample.record, attempts=sample.attempts[:4])
    with Store.open(url) as store:
        few.tell(store.optuna_storage())
        study = store.studies.add(
            name=few.spec.name, spec_json=few.record.spec_json, space_hash=few.record.space_hash, budget=4
        )
        worker = store.workers.register(
            study_id=study.id, slot=sample.workers[0].slot, host="node-a", boot_id="boot", pid=1, pid_start=1.0
        )
        for each in few.attempts:
            claimed = store.attempts.claim(study.id, worker.id, baseline=True)
            assert claimed is not None
            assert each.number is not None
            assert each.outcome is not None
            store.attempts.asked(claimed.id, each.number)
            store.attempts.chosen(claimed.id, each.params or Params())
            (store.artifacts.attempt_folder(study.id, claimed.id) / "server.log").write_text("ready")
            store.attempts.end(claimed.id, worker.id, each.outcome, retry=False)
    return url


def test_serving_a_real_store_fills_its_pages_and_ends_on_ctrl_c(stored: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVE, stored, str(tmp_path / "artifacts")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        page = httpx.get(f"{url.removesuffix('/dashboard')}/api/studies/1", timeout=60).json()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
    assert best_numbers(page) == [2]
    assert "30.0 % better" in page["note"]["body"]
    assert [each["filename"] for each in page["trials"][2]["artifacts"]] == ["server.log"]
    assert page["objective_names"] == ["output_throughput_tok_s"]
