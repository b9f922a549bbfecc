"""The dashboard's button FAIL TRIAL, as the cancel of that trial.

The dashboard itself would write "failed" into Optuna's history and leave the server running. Here the trial's worker
is asked to end it: the server is stopped, the GPUs are freed, the study goes on, and Optuna is told by who tells it
everything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from json import JSONDecodeError
from typing import TYPE_CHECKING

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage

from optuna_tuner.errors import ConflictError, NotFoundError, TunerError
from optuna_tuner.store.records import AttemptRecord, AttemptState
from optuna_tuner.store.store import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

TELL = re.compile(r"/api/trials/(\d+)/tell/?")
LONGEST_BODY = 10_000  # bytes; the button sends 16
FAIL = "fail"

Cancel = Callable[[int], None]  # end Optuna's trial of this id; raises NotFoundError, ConflictError or StoreError


class FailButton:
    """A WSGI application around the dashboard: answers what the button sends, and passes everything else on."""

    def __init__(self, application: WSGIApplication, cancel: Cancel) -> None:
        self._application, self._cancel = application, cancel

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request. The page wants a JSON object, also when there is nothing to say."""
        asked = TELL.fullmatch(environ.get("PATH_INFO", ""))
        if asked is None:
            return self._application(environ, start_response)
        status, reason = self._answer(environ, int(asked[1]))
        body = json.dumps({"reason": reason} if reason else {}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    def _answer(self, environ: WSGIEnvironment, trial_id: int) -> tuple[HTTPStatus, str]:
        """A status, and why it is refused; empty when it is not."""
        if environ["REQUEST_METHOD"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, "This address only takes the button's POST."
        if _state(environ) != FAIL:
            return HTTPStatus.BAD_REQUEST, "A trial can be failed here, and nothing else: values are only measured."
        try:
            self._cancel(trial_id)
        except NotFoundError as error:
            return HTTPStatus.NOT_FOUND, str(error)
        except ConflictError as error:
            return HTTPStatus.CONFLICT, str(error)
        except (TunerError, StorageInternalError) as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"The database cannot be asked: {error}"
        return HTTPStatus.OK, ""


def _state(environ: WSGIEnvironment) -> str | None:
    """The state that is asked for, in small letters; None where the request does not say one in JSON.

    A form on a foreign page cannot send this content type.
    """
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        return None
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        said = json.loads(environ["wsgi.input"].read(length)) if 0 < length <= LONGEST_BODY else None
    except (JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    state = said.get("state") if isinstance(said, dict) else None
    return state.lower() if isinstance(state, str) else None


def canceller(store: Store, reading: BaseStorage) -> Cancel:
    """Cancels in the store. It reads Optuna's history, and never writes there."""

    def cancel(trial_id: int) -> None:
        attempt = _attempt(store, reading, trial_id)
        if attempt.state is AttemptState.ENDED:
            raise ConflictError(f"Trial {attempt.number} has ended already.")
        store.attempts.request_cancel(attempt.id)

    return cancel


def _attempt(store: Store, reading: BaseStorage, trial_id: int) -> AttemptRecord:
    """The attempt of Optuna's trial of that id. Raises NotFoundError, ConflictError."""
    try:
        trial = reading.get_trial(trial_id)
    except KeyError:
        raise NotFoundError("There is no such trial.") from None
    if trial.state.is_finished():
        raise ConflictError(f"Trial {trial.number} has ended already.")
    for study in store.studies.all():
        if _is_of(reading, study.name, trial.number, trial_id):
            return store.attempts.by_number(study.id, trial.number)
    raise NotFoundError("Only Optuna knows this study: no worker of optuna-tuner runs its trials.")


def _is_of(reading: BaseStorage, study: str, number: int, trial_id: int) -> bool:
    """Whether the study's trial of this number is the one with this id; Optuna does not tell a trial's study."""
    try:
        study_id = reading.get_study_id_from_name(study)
        return reading.get_trial_id_from_study_id_trial_number(study_id, number) == trial_id
    except KeyError:  # a study without its history, or with fewer trials
        return False
