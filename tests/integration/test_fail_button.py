"""The dashboard's button FAIL TRIAL: a cancel, asked for over HTTP, that never writes Optuna's history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx
import optuna
import pytest

from optuna_tuner.results.dashboard.adapter import DashboardStorage
from optuna_tuner.results.dashboard.button import canceller
from optuna_tuner.results.dashboard.server import dashboard_app, make_server
from optuna_tuner.results.dashboard.shelf import Shelf
from optuna_tuner.store.records import AttemptRecord, Outcome, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Slot

PRESSED: Mapping[str, object] = {"state": "Fail"}  # what the page sends
STOPPED = Outcome(verdict=Verdict.FAIL, cause=Cause.STOPPED)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A dashboard on a store whose second study has one running trial; in Optuna it has other ids than numbers."""

    store: Store
    page: httpx.Client
    worker_id: str
    attempt: AttemptRecord
    trial_id: int

    def press(self, trial_id: int | None = None, body: object = PRESSED) -> httpx.Response:
        return self.page.post(f"/api/trials/{trial_id or self.trial_id}/tell", json=body)

    @property
    def cancelled(self) -> bool:
        return self.store.workers.beat(self.worker_id, self.attempt.id).cancel_attempt


@pytest.fixture
def scene(store: Store, tmp_path: Path) -> Iterator[Scene]:
    history = store.optuna_storage()
    for name in ("other", "mine"):
        store.studies.add(name=name, spec_json="{}", space_hash="s" * 64, budget=2)
        optuna.create_study(study_name=name, storage=history)
    optuna.load_study(study_name="other", storage=history).ask()
    trial = optuna.load_study(study_name="mine", storage=history).ask()
    study, slot = store.studies.get("mine"), Slot(name="0", host="h")
    worker = store.workers.register(study_id=study.id, slot=slot, host="h", boot_id="b", pid=7, pid_start=1.0)
    attempt = store.attempts.claim(study.id, worker.id, baseline=True)
    assert attempt is not None
    assert store.attempts.asked(attempt.id, trial.number)
    shelf = Shelf(tmp_path, lambda study_id, attempt_id: tmp_path / study_id / attempt_id)
    reading = store.optuna_storage(reading=True)
    cancel = canceller(store, reading)
    application = dashboard_app(DashboardStorage(reading, history), shelf, lambda _: None, cancel, "127.0.0.1")
    with make_server(application, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", timeout=60) as page:
            yield Scene(store=store, page=page, worker_id=worker.id, attempt=attempt, trial_id=trial._trial_id)
        server.shutdown()
        thread.join()


def test_the_button_asks_for_the_trials_cancel_and_leaves_optunas_history_alone(scene: Scene) -> None:
    assert not scene.cancelled
    answer = scene.press()
    assert (answer.status_code, answer.json()) == (200, {})
    assert scene.cancelled
    assert scene.store.optuna_storage().get_trial(scene.trial_id).state is optuna.trial.TrialState.RUNNING


def test_pressing_twice_is_fine(scene: Scene) -> None:
    assert [scene.press().status_code, scene.press().status_code] == [200, 200]


def test_a_trial_that_has_ended_is_refused_even_before_optuna_knows(scene: Scene) -> None:
    assert scene.store.attempts.end(scene.attempt.id, scene.worker_id, STOPPED, retry=False)
    answer = scene.press()
    assert (answer.status_code, answer.json()) == (409, {"reason": "Trial 0 has ended already."})


def test_a_trial_that_has_ended_in_optuna_is_refused(scene: Scene) -> None:
    scene.store.optuna_storage().set_trial_state_values(scene.trial_id, optuna.trial.TrialState.FAIL)
    answer = scene.press()
    assert (answer.status_code, answer.json()) == (409, {"reason": "Trial 0 has ended already."})
    assert not scene.cancelled


def test_a_study_that_only_optuna_knows_is_refused(scene: Scene) -> None:
    history = scene.store.optuna_storage()
    trial = optuna.create_study(study_name="foreign", storage=history).ask()
    answer = scene.press(trial._trial_id)
    assert answer.status_code == 404
    assert "Only Optuna knows this study" in answer.json()["reason"]
    assert history.get_trial(trial._trial_id).state is optuna.trial.TrialState.RUNNING


def test_a_trial_without_an_attempt_is_refused(scene: Scene) -> None:
    history = scene.store.optuna_storage()
    trial = optuna.load_study(study_name="mine", storage=history).ask()
    answer = scene.press(trial._trial_id)
    assert answer.status_code == 404
    assert not scene.cancelled


def test_an_unknown_trial_is_refused(scene: Scene) -> None:
    answer = scene.press(9999)
    assert (answer.status_code, answer.json()) == (404, {"reason": "There is no such trial."})


@pytest.mark.parametrize(
    "body", [{"state": "Complete", "values": [1.0]}, {"state": "Pruned"}, {"state": 3}, {"values": [1.0]}]
)
def test_no_other_state_can_be_told(scene: Scene, body: Mapping[str, object]) -> None:
    answer = scene.press(body=body)
    assert answer.status_code == 400
    assert "nothing else" in answer.json()["reason"]
    assert not scene.cancelled
    assert scene.store.optuna_storage().get_trial(scene.trial_id).state is optuna.trial.TrialState.RUNNING


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"state": "Fail"}', "text/plain"),  # what a form on a foreign page can send
        (b'{"state": ', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[]", "application/json"),
        (b"", "application/json"),
        (b" " * 20_000, "application/json"),
    ],
)
def test_what_is_not_the_buttons_json_is_refused(scene: Scene, content: bytes, kind: str) -> None:
    path = f"/api/trials/{scene.trial_id}/tell"
    answer = scene.page.post(path, content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert not scene.cancelled


def test_a_foreign_page_cannot_press_it(scene: Scene) -> None:
    path = f"/api/trials/{scene.trial_id}/tell"
    answer = scene.page.post(path, json=PRESSED, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert not scene.cancelled
