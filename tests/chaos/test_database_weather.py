"""Trouble with a real database is waited out: nothing that was acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import outages
import psycopg
import pymysql
import pytest
from databases import DatabaseServer, PostgresqlServer
from optuna.study import StudyDirection
from sqlalchemy import make_url
from weather import World, register, tmpfs_is_possible, world
from weather_lines import PATIENCE_S, SOON_S, Meanwhile, Raw, check_claimed_once, claim, proxy_of, raw, still_waits

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.values import Params

DONE = Outcome(verdict=Verdict.COMPLETE, values=(12.5,))
SERVERS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgresql", "mysql")]
IN_FLIGHT = [
    "sqlite",
    *(pytest.param(name, marks=[getattr(pytest.mark, name), pytest.mark.campaign]) for name in ("postgresql", "mysql")),
]


@pytest.fixture(params=SERVERS)
def server_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A store behind a proxy."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    with world(server.new_database(), request.param) as made:
        yield made


@pytest.fixture
def file_world(tmp_path: Path) -> Iterator[World]:
    with world(f"sqlite:///{tmp_path}/studies.db", "sqlite") as made:
        yield made


# Servers that are busy with others


def test_a_transaction_that_loses_a_deadlock_is_run_again(server_world: World) -> None:
    """A claim locks the study, then its worker; here somebody takes them the other way round."""
    postgresql = make_url(server_world.url).get_backend_name() == "postgresql"
    study, worker = server_world.study.id, server_world.worker.id
    with raw(server_world) as other, raw(server_world) as looker, Meanwhile() as meanwhile:
        if postgresql:
            other.run("SET deadlock_timeout = '60s'")  # the other side looks first, and gives way
        else:
            other.run("UPDATE tuner_worker SET beat = beat + 1")  # the one with fewer changes gives way
        other.lock("tuner_worker", worker)
        call = meanwhile.start(lambda: claim(server_world))
        looker.await_a_waiter()
        opposed = meanwhile.start(lambda: other.lock("tuner_study", study))
        opposed.result(PATIENCE_S)  # it has its lock, so that the claim must have lost
        assert still_waits(call)
        other.let_go()
        check_claimed_once(server_world, call)


def test_a_server_without_a_free_connection_is_waited_for(server_world: World) -> None:
    proxy, refused = proxy_of(server_world), 0
    proxy.reset()  # our own would be kept
    with ExitStack() as stack, Meanwhile() as meanwhile:
        if make_url(server_world.url).get_backend_name() == "mysql":
            lower_the_limit(stack, server_world)
        others: list[Any] = []
        while not refused:
            try:
                others.append(Raw(server_world.url).connection)
            except (psycopg.OperationalError, pymysql.err.OperationalError):
                refused += 1
        call = meanwhile.start(lambda: claim(server_world))
        assert still_waits(call)
        for other in others:
            other.close()
        check_claimed_once(server_world, call)


def lower_the_limit(stack: ExitStack, world: World) -> None:
    root = stack.enter_context(raw(world))
    (limit,) = root.run("SELECT @@global.max_connections")
    root.run("SET GLOBAL max_connections = 12")
    stack.callback(lambda: root.run(f"SET GLOBAL max_connections = {limit[0]}"))


@pytest.mark.postgresql
def test_a_server_that_crashes_and_comes_back_is_waited_for(own_postgresql: PostgresqlServer) -> None:
    with world(own_postgresql.new_database(), "postgresql") as ours, Meanwhile() as meanwhile:
        attempt = ours.claimed()
        own_postgresql.kill()
        try:
            call = meanwhile.start(lambda: ours.store.attempts.end(attempt.id, ours.worker.id, DONE, retry=False))
            assert still_waits(call)
        finally:
            own_postgresql.start()
        assert call.result(PATIENCE_S)
        assert ours.events("ended", attempt) == 1


# SQLite's own weather


def test_an_exclusive_lock_on_the_file_is_waited_out(file_world: World) -> None:
    file = file_world.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other, Meanwhile() as meanwhile:
        other.execute("BEGIN EXCLUSIVE")
        call = meanwhile.start(lambda: claim(file_world))
        assert still_waits(call)
        other.execute("COMMIT")
        check_claimed_once(file_world, call)


def test_optunas_own_writes_wait_for_another_writer_too(file_world: World) -> None:
    """For longer than the slices in which a wait is cut, so that signals are heard."""
    storage = file_world.store.optuna_storage()
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "weather")
    file = file_world.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other, Meanwhile() as meanwhile:
        other.execute("BEGIN IMMEDIATE")
        call = meanwhile.start(lambda: storage.set_study_user_attr(study, "said", "once"))
        for _ in range(6):
            assert still_waits(call)
        other.execute("COMMIT")
        call.result(PATIENCE_S)
    assert storage.get_study_user_attrs(study) == {"said": "once"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if not tmpfs_is_possible(tmp_path):
        pytest.skip("a file system of 2 MB can only be mounted by root with CAP_SYS_ADMIN")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_loses_nothing_that_was_acknowledged_and_the_study_goes_on(small_disk: Path) -> None:
    file, ballast = small_disk / "studies.db", small_disk / "ballast"
    told: list[str] = []  # what the store has acknowledged
    until = [1000]  # so many; lowered when there is room again, as the disk would only fill up anew
    with Store.open(f"sqlite:///{file}") as store, Meanwhile() as meanwhile:
        study = store.studies.add(name="full", spec_json="{}", space_hash="", budget=1000)
        worker = register(store, study.id)
        ballast.write_bytes(b"x" * (free_bytes(small_disk) - 150_000))

        def work() -> None:
            while len(told) < until[0]:
                attempt = store.attempts.claim(study.id, worker.id, baseline=False)
                assert attempt is not None
                store.attempts.asked(attempt.id, len(told))
                store.attempts.chosen(attempt.id, Params(flags={"text": "x" * 2000}))
                assert store.attempts.end(attempt.id, worker.id, DONE, retry=False)
                told.append(attempt.id)

        call = meanwhile.start(work)
        assert poll(
            lambda: (free_bytes(small_disk) < 5000 and stands_still(told, call)) or None, Deadline.after(PATIENCE_S)
        )
        before = len(told)
        check_file(file, told)
        until[0] = before + 20
        ballast.unlink()
        call.result(PATIENCE_S)
    check_file(file, told)


def free_bytes(folder: Path) -> int:
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def stands_still(told: list[str], call: Future[None]) -> bool:
    before = len(told)
    time.sleep(2 * SOON_S)
    return len(told) == before and not call.done()


def check_file(file: Path, told: list[str]) -> None:
    """Read the rows raw: every acknowledged end is there, and the file is sound."""
    with closing(sqlite3.connect(file)) as connection:
        ended = {row[0] for row in connection.execute("SELECT id FROM tuner_attempt WHERE state = 'ended'")}
        assert set(told) <= ended
        assert len(ended) <= len(told) + 1  # the one whose acknowledgement was on its way
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# A whole study in bad weather


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", IN_FLIGHT)
def test_measurements_that_were_in_flight_are_kept_and_not_run_again(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind != "sqlite":
        request.getfixturevalue("own_postgresql" if kind == "postgresql" else "mysql")  # skips where there is none
    arguments = argparse.Namespace(database=kind, outages=1, seconds=5.0, restarts=int(kind == "postgresql"), seed=1)
    play = outages.campaign(arguments, tmp_path)
    assert play.violations == []
    for score in play.scores.values():
        assert score.kept == score.in_flight >= outages.WORKERS / 2
