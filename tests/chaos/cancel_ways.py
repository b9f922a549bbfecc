"""The ways in which a user cancels, each in a process of its own, as the user's is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import traced_worker as traced
from raw_rows import RawDatabase
from stage import NAME, Stage
from traced_worker import Traced

PATIENCE_S = 60.0


class Attempt(NamedTuple):
    """The one that is cancelled."""

    id: str
    number: int | None


class Way(NamedTuple):
    """How it is asked for; returns when the asking is done."""

    name: str
    ask: Callable[[Stage], None]
    whole_study: bool = False


def current(stage: Stage) -> Attempt:
    """The attempt that runs or waits now; there is one. Raises RuntimeError otherwise."""
    with closing(RawDatabase(stage.storage)) as database:
        rows = database.ask("SELECT id, number FROM tuner_attempt WHERE state <> 'ended'")
    if len(rows) != 1:
        raise RuntimeError(f"{len(rows)} attempts run or wait at the moment of the cancel")
    return Attempt(rows[0]["id"], rows[0]["number"])


def choose(attempt: Attempt, turn: int, *, numbered: bool, queued: bool) -> Way:
    """By turns: the store's own request, the front door, the command, and the whole study by front door or command."""
    request = Way("request_cancel", lambda stage: do(stage, lambda: _request(attempt.id)))
    if queued:  # a study's cancel leaves what waits for a resume
        return request
    study = Way("Tuner.cancel", lambda stage: do(stage, _cancel_study), whole_study=True)
    command = Way("cancel STUDY", lambda stage: do(stage, lambda: _command("cancel", NAME)), whole_study=True)
    if not numbered or attempt.number is None:
        return (request, study, request, command)[turn % 4]
    number = attempt.number
    trial = Way("Tuner.cancel_trial", lambda stage: do(stage, lambda: _cancel_trial(number)))
    one = Way("cancel STUDY N", lambda stage: do(stage, lambda: _command("cancel", NAME, str(number))))
    return (trial, one, study, request, command)[turn % 5]


def do(stage: Stage, act: Callable[[], int]) -> None:
    """In a process of its own, to its end. Raises RuntimeError when it fails."""
    code = traced.fork(stage, "cancel", act).wait(PATIENCE_S)
    if code != 0:
        raise RuntimeError(f"the cancel itself ended with {code}")


def resume(stage: Stage) -> None:
    """Let the study go on."""
    do(stage, lambda: _command("resume", NAME))


def _command(*words: str) -> int:
    from optuna_tuner.cli import main  # noqa: PLC0415  the product is loaded by the time that this is called

    sys.argv = ["optuna-tuner", *words]
    main()
    return 0


def _request(attempt_id: str) -> int:
    from optuna_tuner.home import default_storage  # noqa: PLC0415  as above
    from optuna_tuner.store.store import Store  # noqa: PLC0415  as above

    with Store.open(default_storage()) as store:
        store.attempts.request_cancel(attempt_id)
    return 0


def _cancel_trial(number: int) -> int:
    from optuna_tuner import Tuner  # noqa: PLC0415  as above

    with closing(Tuner()) as tuner:
        tuner.cancel_trial(NAME, number)
    return 0


def _cancel_study() -> int:
    from optuna_tuner import Tuner  # noqa: PLC0415  as above

    with closing(Tuner()) as tuner:
        tuner.cancel(NAME)
    return 0


@dataclass(frozen=True, slots=True)
class HeldLock:
    """The study lock in the hands of another process."""

    holder: Traced
    stage: Stage

    def release(self) -> None:
        """Let others have it. Raises RuntimeError when it was lost before."""
        (self.stage.folder / "release").touch()
        if self.holder.wait(PATIENCE_S) != 0:
            raise RuntimeError("the holder of the study lock broke down")


def hold_lock(stage: Stage, study_id: str) -> HeldLock:
    """Take the study lock as another worker would, and keep it. Raises RuntimeError when it cannot be had."""

    def act() -> int:
        from optuna_tuner.home import default_storage  # noqa: PLC0415  as above
        from optuna_tuner.store.store import Store  # noqa: PLC0415  as above

        with Store.open(default_storage()) as store, store.study_lock(study_id):
            (stage.folder / "locked").touch()
            _wait_for_file(stage, "release")
        return 0

    holder = traced.fork(stage, "holder", act)
    _wait_for_file(stage, "locked")
    return HeldLock(holder, stage)


def _wait_for_file(stage: Stage, name: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not (stage.folder / name).exists():
        if time.monotonic() > end:
            raise RuntimeError(f"there is no {name}")
        time.sleep(0.01)
