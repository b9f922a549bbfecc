"""Runs of MLflow: one of the study, and below it one of each trial. Where they go is for MLFLOW_TRACKING_URI to say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.results.tracking import Tracked
from optuna_tuner.results.tracking.logbook import ID, STUDY_ID, Ending, Entry, Logbook

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

MOST_METRICS, MOST_PARAMS = 1000, 100  # of one request; these and the lengths are MLflow's own bounds
LONGEST_PARAM, LONGEST_TAG = 6000, 5000
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


def log_to_mlflow(book: Logbook, project: str) -> Tracked:
    """Log what is not there yet, and the study's own run anew. Raises EnvironmentFaultError."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what is sent is for the user to ask for
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a run
    try:
        from mlflow import MlflowClient  # noqa: PLC0415  an extra
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  likewise
    except ImportError as error:
        raise EnvironmentFaultError("mlflow is missing: pip install 'optuna-tuner[mlflow]'") from error
    try:
        client = MlflowClient()
        return _Experiment(client, project, book).log()
    except MlflowException as error:
        raise EnvironmentFaultError(f"MLflow: {_LOGIN.sub('', str(error))}") from error


class _Experiment:
    """The runs of one study in an experiment. A run that was left unfinished is written again, in its place."""

    def __init__(self, client: MlflowClient, name: str, book: Logbook) -> None:
        self._client, self._name, self._book = client, name, book
        found = client.get_experiment_by_name(name)
        self._id = found.experiment_id if found else client.create_experiment(name)
        self._known = {run.data.tags[ID]: run for run in self._runs()}

    def log(self) -> Tracked:
        parent = self._run_of(self._book.study, {})
        missing = [entry for entry in self._book.trials if not self._is_complete(entry)]
        for entry in missing:
            self._write(self._run_of(entry, {"mlflow.parentRunId": parent}), entry)
        self._write(parent, self._book.study)
        for name, content in self._book.files.items():
            self._client.log_text(parent, content.decode(), name)
        place = f"{_LOGIN.sub('', self._client.tracking_uri)}, experiment {self._name}"
        return Tracked(place=place, logged=len(missing), there=len(self._book.trials) - len(missing))

    def _runs(self) -> Iterator[Run]:
        token: str | None = None
        while True:
            wanted = f"tags.`{STUDY_ID}` = '{self._book.study.id}'"
            page = self._client.search_runs([self._id], wanted, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _is_complete(self, entry: Entry) -> bool:
        return entry.id in self._known and self._known[entry.id].info.status != Ending.RUNNING.value

    def _run_of(self, entry: Entry, more: Mapping[str, str]) -> str:
        known = self._known.get(entry.id)
        if known is not None:
            return str(known.info.run_id)
        tags = {name: text[:LONGEST_TAG] for name, text in entry.tags.items()} | dict(more)
        start = _ms(entry.started) if entry.started else None
        return str(self._client.create_run(self._id, start, tags, entry.name).info.run_id)

    def _write(self, run: str, entry: Entry) -> None:
        from mlflow.entities import Param, RunTag  # noqa: PLC0415  an extra

        params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in entry.config.items()]
        metrics = list(_metrics(entry))
        tags = [RunTag(name, text[:LONGEST_TAG]) for name, text in entry.tags.items()]
        self._client.log_batch(run, tags=tags)
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(run, params=params[start : start + MOST_PARAMS])
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(run, metrics=metrics[start : start + MOST_METRICS])
        if entry.ending is not Ending.RUNNING:
            self._client.set_terminated(run, entry.ending.value, _ms(entry.ended) if entry.ended else None)


def _metrics(entry: Entry) -> Iterator[Metric]:
    """Those that count, and those of each load level, under at_load/ and with the load as the step."""
    from mlflow.entities import Metric  # noqa: PLC0415  an extra

    at = _ms(entry.ended) if entry.ended else 0
    yield from (Metric(name, value, at, 0) for name, value in entry.metrics.items())
    for load, metrics in entry.at_loads:
        yield from (Metric(f"at_load/{name}", value, at, round(load)) for name, value in metrics.items())


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
