"""A question to a server that may never answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from optuna_tuner.clock import now
from optuna_tuner.errors import TrialError

PROBE_TOTAL_S = 10.0  # for the whole of an answer; a healthy server on a loaded machine needs a second or two
PROBE_WAIT_S = 0.1  # then the server's exit is looked for again


class Probe:
    """Asks a question that may take for ever, one at a time, beside the one who wants to know.

    Time-outs of HTTP clients are for one read: a server that sends a byte a second would hold us for minutes. An
    answer that took longer than PROBE_TOTAL_S is none.
    """

    def __init__(self) -> None:
        self._asking: Future[bool] | None = None
        self._asked_at = 0.0

    def says_yes(self, ask: Callable[[], bool]) -> bool:
        """Whether the answer to the question that is under way, or to this one, is there, in time, and yes.

        Raises TrialError as the question did.
        """
        if self._asking is None:
            self._asking, self._asked_at = Future(), now()
            Thread(target=_answer, args=(self._asking, ask), name="probe", daemon=True).start()
        try:
            answer = self._asking.result(PROBE_WAIT_S)
        except TimeoutError:
            return False
        finally:
            if self._asking.done():
                self._asking = None
        return answer and now() - self._asked_at <= PROBE_TOTAL_S


def _answer(asking: Future[bool], ask: Callable[[], bool]) -> None:
    try:
        asking.set_result(ask())
    except (TrialError, OSError) as error:
        asking.set_exception(error)
    finally:
        if not asking.done():
            asking.cancel()
