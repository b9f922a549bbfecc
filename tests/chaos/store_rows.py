"""The store's tables as they lie there, read without a line of the product, and the laws that each step must keep."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from store_model import CREATED, ENDED, GONE, INTENT, QUEUED, RUNNING, Model

Row = Mapping[str, Any]
Look = Callable[[Mapping[str, str]], Mapping[str, list[Row]]]
DOWNWARD = {QUEUED: 0, RUNNING: 1, ENDED: 2, INTENT: 0, CREATED: 1, GONE: 2}
MAY_CHANGE_AFTER_THE_END = {"told"}


@dataclass(frozen=True, slots=True)
class Rows:
    """One look at one study."""

    study: Row
    workers: Mapping[str, Row]
    attempts: Mapping[str, Row]
    resources: Mapping[str, Row]
    events: Mapping[tuple[str, str], int]


# All ids begin with their time, so that whatever belongs to a study has an id that follows the study's own.
QUERIES = {
    "studies": "SELECT * FROM tuner_study WHERE id = {id}",
    "attempts": "SELECT * FROM tuner_attempt WHERE study_id = {id}",
    "workers": "SELECT id, beat, retired FROM tuner_worker WHERE id >= {since} AND study_id = {id}",
    "resources": "SELECT * FROM tuner_resource WHERE id >= {since}",
    "events": "SELECT attempt_id, kind, count(*) AS times FROM tuner_event WHERE attempt_id >= {since} GROUP BY 1, 2",
}


class Reader:
    """Looks at one study after another, over a raw connection of its own."""

    def __init__(self, url: str) -> None:
        self._look, self.close = _sqlite(url) if url.startswith("sqlite:///") else _postgresql(url)

    def look(self, study_id: str) -> Rows:
        tables = self._look({"id": study_id, "since": study_id[:10]})
        mine = {each["id"]: each for each in tables["attempts"]}
        return Rows(
            study=tables["studies"][0],
            workers={each["id"]: each for each in tables["workers"]},
            attempts=mine,
            resources={each["id"]: each for each in tables["resources"] if each["attempt_id"] in mine},
            events={
                (each["attempt_id"], each["kind"]): each["times"]
                for each in tables["events"]
                if each["attempt_id"] in mine
            },
        )


def _sqlite(url: str) -> tuple[Look, Callable[[], None]]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    queries = {name: query.format(id=":id", since=":since") for name, query in QUERIES.items()}

    def rows(query: str, words: Mapping[str, str]) -> list[Row]:
        cursor = connection.execute(query, words)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    return lambda words: {name: rows(query, words) for name, query in queries.items()}, connection.close


def _postgresql(url: str) -> tuple[Look, Callable[[], None]]:
    """All in one statement: the way to the server and back is what takes time."""
    import psycopg  # noqa: PLC0415  an extra

    connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    queries = {name: query.format(id="%(id)s", since="%(since)s") for name, query in QUERIES.items()}
    parts = [f"(SELECT coalesce(json_agg(t), '[]') FROM ({query}) AS t)" for query in queries.values()]  # noqa: S608  our own constants
    everything = f"SELECT {', '.join(parts)}"

    def look(words: Mapping[str, str]) -> Mapping[str, list[Row]]:
        found = connection.execute(everything, words, prepare=True).fetchone()
        return dict(zip(queries, found or (), strict=True))

    return look, connection.close


def broken_laws(before: Rows | None, after: Rows) -> list[str]:
    """What is wrong with the books as they lie, and with the step that led there; nothing where all is well."""
    found = [*_books(after)]
    if before is not None:
        found += [*_steps(before, after), *_fences(before, after)]
    return found


def _books(rows: Rows) -> Iterator[str]:
    study, attempts = rows.study, rows.attempts.values()
    if study["reserved"] > study["budget"]:
        yield "more is reserved than the budget has"
    if sum(each["retry_of"] is None for each in attempts) != study["reserved"]:
        yield "the attempts that are no retries are not those that were reserved"
    running = [each["worker_id"] for each in attempts if each["state"] == RUNNING]
    if len(running) != len(set(running)):
        yield "a worker runs two attempts"
    for attempt in attempts:
        ended = attempt["state"] == ENDED
        if rows.events.get((attempt["id"], "ended"), 0) != ended:
            yield "an attempt has not one end, or an end before it ended"
        if attempt["told"] and not ended:
            yield "told before it ended"
        if rows.events.get((attempt["id"], "claimed"), 0) != (attempt["worker_id"] is not None):
            yield "an attempt was not claimed once"
    retried = [each["retry_of"] for each in attempts if each["retry_of"] is not None]
    if len(retried) != len(set(retried)):
        yield "an attempt was retried twice"


def _steps(before: Rows, after: Rows) -> Iterator[str]:
    for table in ("attempts", "resources", "workers"):
        old, new = getattr(before, table), getattr(after, table)
        if old.keys() - new.keys():
            yield f"a row of the {table} is gone"
        for key in old.keys() & new.keys():
            if "state" in old[key] and DOWNWARD[new[key]["state"]] < DOWNWARD[old[key]["state"]]:
                yield f"one of the {table} went back from {old[key]['state']} to {new[key]['state']}"
    for key, attempt in before.attempts.items():
        changed = {name for name, value in attempt.items() if after.attempts[key][name] != value}
        if attempt["state"] == ENDED and changed - MAY_CHANGE_AFTER_THE_END:
            yield f"an ended attempt changed: {sorted(changed)}"
        if attempt["told"] and not after.attempts[key]["told"]:
            yield "what was told is untold again"
        if attempt["number"] is not None and "number" in changed:
            yield "an attempt changed its number"


def _fences(before: Rows, after: Rows) -> Iterator[str]:
    fenced = {key for key, worker in before.workers.items() if worker["retired"]}
    for key in fenced:
        if not after.workers[key]["retired"]:
            yield "a retired worker came back"
        if after.workers[key]["beat"] != before.workers[key]["beat"]:
            yield "a beat of a retired worker counted"
    for key, attempt in after.attempts.items():
        old = before.attempts.get(key)
        if attempt["worker_id"] in fenced and (old is None or old["worker_id"] != attempt["worker_id"]):
            yield "a retired worker claimed"
    for key, resource in after.resources.items():
        earlier = before.resources.get(key)
        if resource["worker_id"] not in fenced:
            continue
        if earlier is None:
            yield "a retired worker intended"
        elif (earlier["state"], resource["state"]) == (INTENT, CREATED):
            yield "a retired worker created"


def differences(model: Model, rows: Rows) -> list[str]:
    """Where the tables are not what the model says."""
    said, found = _said(model), _found(rows)
    return [
        f"{key} is {found.get(key)}; the model says {said.get(key)}"
        for key in sorted(said.keys() | found.keys())
        if said.get(key) != found.get(key)
    ]


def _said(model: Model) -> dict[str, tuple[object, ...]]:
    study = (model.budget, model.reserved, model.desired, model.ended_because)
    workers = {each.id: (each.beats, each.retired) for each in model.workers.values()}
    resources = {each.id: (each.attempt, each.worker, each.state, each.handle) for each in model.resources.values()}
    attempts = {
        each.id: (
            *(each.kind, each.state, each.tries, each.retry_of, each.params, each.number, each.worker),
            *(each.phase, each.cancel, each.cause, each.told),
        )
        for each in model.attempts
    }
    return {"study": study} | attempts | {f"worker {key}": value for key, value in workers.items()} | _ledger(resources)


def _found(rows: Rows) -> dict[str, tuple[object, ...]]:
    study = (*(rows.study[name] for name in ("budget", "reserved", "desired", "ended_because")),)
    workers = {key: (row["beat"], bool(row["retired"])) for key, row in rows.workers.items()}
    resources = {
        key: (
            row["attempt_id"],
            row["worker_id"],
            row["state"],
            row["handle"] and json.loads(row["handle"])["ref"]["n"],
        )
        for key, row in rows.resources.items()
    }
    attempts = {
        key: (
            *(row[name] for name in ("kind", "state", "tries", "retry_of", "params", "number", "worker_id", "phase")),
            bool(row["cancel"]),
            row["outcome"] and json.loads(row["outcome"])["cause"],
            bool(row["told"]),
        )
        for key, row in rows.attempts.items()
    }
    return {"study": study} | attempts | {f"worker {key}": value for key, value in workers.items()} | _ledger(resources)


def _ledger(resources: Mapping[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {f"ledger {key}": value for key, value in resources.items()}
