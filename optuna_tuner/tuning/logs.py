"""What a server says, while it runs and afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.store.records import AttemptState
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.journal import SERVER_LOG

LOOK_EVERY_S = 0.5


def server_log(store: Store, deployer: Deployer, attempt_id: str, *, follow: bool) -> Iterator[str]:
    """Yield the server's output, piece by piece; with `follow`, until its attempt has ended."""
    said = ""
    while True:
        running = store.attempts.get(attempt_id).state is AttemptState.RUNNING
        now_said = _look(store, deployer, attempt_id)
        new = now_said.removeprefix(said) if now_said.startswith(said) else now_said
        if new:
            yield new
        said = now_said
        if not (follow and running):
            return
        poll(lambda: None, Deadline.after(LOOK_EVERY_S))


def _look(store: Store, deployer: Deployer, attempt_id: str) -> str:
    handles = deployer.find({"attempt": attempt_id})
    if handles:
        return deployer.log(handles[0])
    attempt = store.attempts.get(attempt_id)
    kept = store.artifacts.attempt_folder(attempt.study_id, attempt_id) / SERVER_LOG
    return kept.read_text(encoding="utf-8", errors="replace") if kept.exists() else ""
