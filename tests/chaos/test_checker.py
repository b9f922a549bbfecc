"""The judge himself is judged: each falsified database and event file must be called by its name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from chaos_client import truth
from checker import Memory, judge, seed_of
from raw_rows import RawDatabase, Row

Events = list[dict[str, Any]]
TRIES = 3
PARAMS = {"x": 7, "y": 0.25}
_TABLES = """
CREATE TABLE tuner_study (id, name, budget INT, reserved INT);
CREATE TABLE tuner_worker (id, pid INT, retired INT);
CREATE TABLE tuner_attempt (id PRIMARY KEY, kind, state, tries INT, retry_of, params, number INT, worker_id, phase,
    cancel, outcome, ended_by, told INT, ended_at, pair INT);
CREATE TABLE tuner_resource (id, state);
CREATE TABLE tuner_event (attempt_id, id INTEGER PRIMARY KEY, kind);
CREATE TABLE trials (trial_id INT, number INT, state);
CREATE TABLE trial_values (trial_id INT, objective INT, value REAL);
CREATE TABLE trial_params (trial_id INT, param_name, param_value REAL);
INSERT INTO tuner_study VALUES ('s', 'chaos', 2, 2);
INSERT INTO tuner_worker VALUES ('w', 1, 1);
"""


def score(attempt: str) -> float:
    return truth(7, 0.25, seed_of(attempt))


def outcome(attempt: str, cause: str | None) -> str:
    if cause is None:
        return json.dumps({"verdict": "complete", "values": [score(attempt)], "cause": None})
    return json.dumps({"verdict": "fail", "values": [], "cause": cause})


def add(connection: sqlite3.Connection, attempt: str, number: int, cause: str | None, retry_of: str | None) -> None:
    tries, params = 2 if retry_of else 1, json.dumps({"flags": PARAMS, "env": {}})
    row = (attempt, "search", "ended", tries, retry_of, params, number, "w", "teardown", 0)
    end = (outcome(attempt, cause), f"call-{attempt}", 1, "2026-01-01")
    connection.execute(
        "INSERT INTO tuner_attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", (*row, *end)
    )
    connection.execute("INSERT INTO tuner_resource VALUES (?, 'gone')", (attempt,))
    for kind in ("queued", "claimed", "asked", "ended", "told"):
        connection.execute("INSERT INTO tuner_event (attempt_id, kind) VALUES (?, ?)", (attempt, kind))
    key = number + 100
    connection.execute("INSERT INTO trials VALUES (?, ?, ?)", (key, number, "FAIL" if cause else "COMPLETE"))
    connection.executemany("INSERT INTO trial_params VALUES (?, ?, ?)", [(key, *pair) for pair in PARAMS.items()])
    if cause is None:
        connection.execute("INSERT INTO trial_values VALUES (?, 0, ?)", (key, score(attempt)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study of two trials, one of which a worker's death has made to be tried again."""
    file = tmp_path / "studies.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(_TABLES)
        add(connection, "a", 0, None, None)
        add(connection, "b", 1, "worker_lost", None)
        add(connection, "c", 2, None, "b")
    return file


def events() -> Events:
    return [{"what": "report", "seed": seed_of(attempt), "score": score(attempt)} for attempt in ("a", "c")]


def snapshot(file: Path) -> dict[str, list[Row]]:
    database = RawDatabase(f"sqlite:///{file}")
    try:
        return database.snapshot()
    finally:
        database.close()


def names(file: Path, seen: Events, memory: Memory | None = None) -> set[str]:
    found = judge(snapshot(file), seen, memory or Memory(), TRIES)
    assert all(violation.evidence for violation in found)
    return {violation.name for violation in found}


def falsify(file: Path, statement: str, values: Sequence[object] = ()) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement, values)


def test_a_true_database_is_not_blamed(file: Path) -> None:
    memory = Memory()
    memory.keep(snapshot(file))
    assert names(file, events(), memory) == set()


@pytest.mark.parametrize(
    ("statement", "called"),
    [
        ("UPDATE tuner_study SET reserved = 3", "budget-overshoot"),
        ("UPDATE tuner_attempt SET retry_of = NULL", "budget-overshoot"),
        ("UPDATE tuner_study SET reserved = 1", "budget-not-spent"),
        ("UPDATE tuner_study SET reserved = 3, budget = 3", "lost-trial"),
        ("UPDATE tuner_attempt SET state = 'running' WHERE id = 'a'", "lost-trial"),
        ("DELETE FROM tuner_attempt WHERE id = 'c'", "lost-trial"),
        ("UPDATE tuner_attempt SET told = 0 WHERE id = 'a'", "untold"),
        ("UPDATE tuner_resource SET state = 'created' WHERE id = 'a'", "open-ledger"),
        ("UPDATE tuner_worker SET retired = 0", "open-worker"),
        ("INSERT INTO tuner_event (attempt_id, kind) VALUES ('a', 'ended')", "duplicate-end"),
        ("DELETE FROM tuner_event WHERE kind = 'ended' AND attempt_id = 'a'", "lost-end"),
        ("UPDATE tuner_attempt SET retry_of = 'a' WHERE id = 'c'", "duplicate-retry"),
        ("""UPDATE tuner_attempt SET params = '{"flags": {"x": 8, "y": 0.25}}' WHERE id = 'c'""", "params-changed"),
        ("UPDATE tuner_attempt SET kind = 'control' WHERE id = 'a'", "lost-trial"),
        ("UPDATE tuner_attempt SET pair = 1", "half-twice"),
        ("UPDATE tuner_attempt SET pair = 1 WHERE id = 'c'", "pair-changed"),
        ("UPDATE trials SET state = 'RUNNING' WHERE number = 0", "optuna-differs"),
        ("UPDATE trials SET state = 'COMPLETE' WHERE number = 1", "optuna-differs"),
        ("UPDATE trial_values SET value = value + 1 WHERE trial_id = 100", "optuna-differs"),
        ("DELETE FROM trial_values WHERE trial_id = 102", "optuna-differs"),
        ("UPDATE trial_params SET param_value = 8 WHERE trial_id = 101 AND param_name = 'x'", "optuna-differs"),
        ("DELETE FROM trials WHERE number = 2", "optuna-differs"),
        ("INSERT INTO trials VALUES (103, 3, 'FAIL')", "optuna-differs"),
        ("INSERT INTO trials VALUES (103, 2, 'COMPLETE')", "optuna-differs"),
    ],
)
def test_each_falsified_table_is_called_by_name(file: Path, statement: str, called: str) -> None:
    falsify(file, statement)
    assert called in names(file, events())


def _other_score(seen: Events) -> None:
    seen[0]["score"] += 1


def _lie(seen: Events) -> None:
    seen.append({"what": "lied", "seed": seed_of("a"), "kind": "huge"})


def _double(seen: Events) -> None:
    seen.append({"what": "double", "server": "tuner-a", "gpu": "GPU-fake-0", "holder": "tuner-b pid 7"})


@pytest.mark.parametrize(
    ("change", "called"),
    [
        (_other_score, "result-changed"),
        (lambda seen: seen.pop(), "invented-result"),
        (_lie, "lie-accepted"),
        (_double, "double-gpu"),
    ],
)
def test_each_falsified_event_file_is_called_by_name(
    file: Path, change: Callable[[Events], object], called: str
) -> None:
    seen = events()
    change(seen)
    assert names(file, seen) == {called}


def test_a_score_of_other_parameters_is_called_by_name(file: Path) -> None:
    seen, other = events(), truth(8, 0.25, seed_of("a"))
    seen[0]["score"] = other
    true = outcome("a", None).replace(repr(score("a")), repr(other))
    falsify(file, "UPDATE tuner_attempt SET outcome = ? WHERE id = 'a'", [true])
    falsify(file, "UPDATE trial_values SET value = ? WHERE trial_id = 100", [other])
    assert names(file, seen) == {"result-mixed-up"}


@pytest.mark.parametrize(
    ("statement", "called"),
    [
        ("UPDATE tuner_attempt SET ended_by = 'another' WHERE id = 'a'", "ended-row-changed"),
        ("UPDATE tuner_attempt SET tries = 3 WHERE id = 'c'", "ended-row-changed"),
        ("UPDATE tuner_attempt SET state = 'running' WHERE id = 'a'", "lost-trial"),
        ("DELETE FROM tuner_attempt WHERE id = 'a'", "lost-trial"),
    ],
)
def test_a_change_after_the_end_is_called_by_name(file: Path, statement: str, called: str) -> None:
    memory = Memory()
    memory.keep(snapshot(file))
    falsify(file, statement)
    assert called in names(file, events(), memory)


def test_a_budget_that_was_overdrawn_for_a_moment_is_remembered(file: Path) -> None:
    memory = Memory()
    falsify(file, "UPDATE tuner_study SET reserved = 3")
    memory.keep(snapshot(file))
    falsify(file, "UPDATE tuner_study SET reserved = 2")
    assert names(file, events(), memory) == {"budget-overshoot"}


SAME = {"verdict": "complete", "cause": None, "same_as": 0, "effective_config": {}, "identity": {"x": 7}}


@pytest.fixture
def repeated(file: Path) -> Path:
    """The same, and a third trial that was the server of the first: it is none of the budget's."""
    with closing(sqlite3.connect(file)) as connection, connection:
        first = {"verdict": "complete", "values": [score("a")], "cause": None, "identity": {"x": 7}}
        connection.execute("UPDATE tuner_attempt SET outcome = ? WHERE id = 'a'", [json.dumps(first)])
        add(connection, "d", 3, None, None)
        connection.execute("DELETE FROM trial_values WHERE trial_id = 103")
        connection.execute("INSERT INTO trial_values VALUES (103, 0, ?)", [score("a")])
        says(connection, SAME | {"values": [score("a")]})
    return file


def says(connection: sqlite3.Connection, said: dict[str, object]) -> None:
    connection.execute("UPDATE tuner_attempt SET outcome = ? WHERE id = 'd'", [json.dumps(said)])


def test_a_true_repeat_is_not_blamed(repeated: Path) -> None:
    assert names(repeated, events()) == set()


@pytest.mark.parametrize(
    ("change", "called"),
    [
        ({"same_as": 9}, "repeats-nothing"),
        ({"same_as": 3}, "repeats-nothing"),
        ({"cause": "slo"}, "repeats-otherwise"),
        ({"same_as": None}, "measured-twice"),
        ({"same_as": None}, "budget-overshoot"),
    ],
)
def test_each_false_repeat_is_called_by_name(repeated: Path, change: dict[str, object], called: str) -> None:
    with closing(sqlite3.connect(repeated)) as connection, connection:
        says(connection, SAME | {"values": [score("a")]} | change)
    assert called in names(repeated, events())


def test_a_repeat_for_which_a_server_was_started_is_called_by_name(repeated: Path) -> None:
    assert names(repeated, [*events(), {"what": "server-start", "server": "tuner-d"}]) == {"repeat-launched"}
