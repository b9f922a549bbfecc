"""Lines of requests, as they are kept while a load level runs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from optuna_tuner.request_log import RequestLine, RequestLog, file_name, printable
from optuna_tuner.values import Load, LoadKind


def test_what_is_not_known_is_left_out() -> None:
    line = json.loads(RequestLine(request_id="1", success=False, error="cut").encoded())
    empty = {"measurement": "", "level": "", "scenario": "", "service_type": ""}
    assert line == {"request_id": "1", **empty, "success": False, "error": "cut"}


def test_a_flush_writes_whole_lines_and_what_is_added_later_follows(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "new" / "requests-1.jsonl")
    for number in range(3):
        log.add(RequestLine(request_id=str(number), success=True))
        log.flush()
        assert len(log.file.read_bytes().splitlines()) == number + 1
        assert log.file.read_bytes().endswith(b"}\n")
    log.close()
    assert log.kept


def test_without_a_request_there_is_no_file(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "requests-1.jsonl")
    log.flush()
    log.close()
    assert not log.file.exists()


def test_a_full_disk_is_told_once_and_ends_the_file_not_the_trial(caplog: pytest.LogCaptureFixture) -> None:
    log = RequestLog(Path("/dev/full"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.add(RequestLine(request_id="1", success=True))
            log.flush()
        log.close()
    assert not log.kept
    assert [record.message for record in caplog.records] == [
        "the requests in /dev/full are not all kept: [Errno 28] No space left on device"
    ]


def test_any_text_of_a_server_can_stand_in_a_line() -> None:
    said = RequestLine(request_id="1", success=False, error=printable("half \ud800 a pair\n" + "x" * 1000))
    line = said.encoded()
    assert line.count(b"\n") == 1
    assert len(json.loads(line)["error"]) == 300


def test_a_file_is_called_after_its_load() -> None:
    assert file_name(2, Load(value=8)) == "requests-2-concurrency-8.jsonl"
    assert file_name(1, Load(kind=LoadKind.REQUEST_RATE, value=0.5)) == "requests-1-request_rate-0.5.jsonl"
