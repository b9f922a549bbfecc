"""How gently a server is ended once somebody has asked for the end of its trial."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from optuna_tuner.contracts import Deployer
from optuna_tuner.errors import TrialError

PROMPT_S = 10.0  # from SIGTERM to SIGKILL: whoever cancels a trial has its devices back within half a minute
LOOK_EVERY_S = 0.2

logger = logging.getLogger(__name__)


@contextmanager
def prompt(deployer: Deployer, attempt_id: str, grace_s: float, stop: Event) -> Iterator[float]:
    """Yield the grace in seconds for an attempt's server; short if `stop` is set.

    If it is set only meanwhile, the server is told again, with a short grace: to stop twice is fine, and the earlier
    end counts.
    """
    short_s = min(grace_s, PROMPT_S)
    if stop.is_set() or short_s == grace_s:
        yield short_s
        return
    done = Event()
    thread = Thread(target=_hasten, args=(deployer, attempt_id, short_s, stop, done), name="prompt", daemon=True)
    thread.start()
    try:
        yield grace_s
    finally:
        done.set()
        thread.join()


def _hasten(deployer: Deployer, attempt_id: str, short_s: float, stop: Event, done: Event) -> None:
    while not done.is_set():
        if stop.wait(LOOK_EVERY_S):
            _tell(deployer, attempt_id, short_s)
            return


def _tell(deployer: Deployer, attempt_id: str, short_s: float) -> None:
    try:
        for handle in deployer.find({"attempt": attempt_id}):
            deployer.stop(handle, short_s)
    except (TrialError, OSError) as error:  # whoever ends the server in the first place says what became of it
        logger.warning("the server of attempt %s could not be hastened: %s", attempt_id, error)
