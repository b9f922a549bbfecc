"""Something that a worker does again and again beside its trials, in a thread of its own that never dies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from optuna_tuner.errors import TunerError

logger = logging.getLogger(__name__)


class Pulse:
    """Calls `beat` every so many seconds until it is closed; an error is logged, and the next beat comes all the same.

    The thread ends with the process. Seconds are waited for on the monotonic clock.
    """

    def __init__(self, name: str, beat: Callable[[], None], every_s: float) -> None:
        self._name, self._beat, self._every_s = name, beat, every_s
        self._done = Event()
        self._thread = Thread(target=self._go_on, name=name, daemon=True)

    def start(self) -> None:
        """Beat for the first time at once."""
        self._thread.start()

    def close(self, wait_s: float) -> None:
        """Begin no other beat, and wait so long for one that is under way."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _go_on(self) -> None:
        self._try()
        while not self._done.wait(self._every_s):
            self._try()

    def _try(self) -> None:
        try:
            self._beat()
        except TunerError as error:
            logger.warning("%s: %s; trying again", self._name, error)
        except Exception:  # the top of a thread: whatever happens, a worker must not fall silent
            logger.exception("%s failed; trying again", self._name)
