# ruff: noqa: S310  only the fake on loopback is opened
"""The fake server itself: its times, and each misbehaviour by its name."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.testing.fake_server import MISBEHAVIOURS

ARGV = [sys.executable, "-m", "optuna_tuner.testing.fake_server", "--model", MODEL]


def _ask(url: str, **more: object) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}], "max_tokens": 4, **more}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as reply:
        data: bytes = reply.read()
    return data


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*ARGV, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_stream_takes_the_time_to_first_token_and_the_time_between_tokens() -> None:
    with fake_server("--ttft-ms", "100", "--itl-ms", "20") as endpoint:
        began = time.perf_counter()
        said = _ask(endpoint.url, stream=True, stream_options={"include_usage": True}, ignore_eos=True)
        assert 0.160 <= time.perf_counter() - began < 0.5
    events = [line for line in said.split(b"\n\n") if line]
    assert events[-1] == b"data: [DONE]"
    assert json.loads(events[-2][6:])["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    assert len(events) == 4 + 2


def test_a_whole_reply_holds_the_same_words_as_a_stream() -> None:
    with fake_server() as endpoint:
        whole = json.loads(_ask(endpoint.url))["choices"][0]["message"]["content"].split()
        stream = [line for line in _ask(endpoint.url, stream=True).split(b"\n\n") if b"content" in line]
    assert [json.loads(line[6:])["choices"][0]["delta"]["content"].strip() for line in stream] == whole


def test_requests_above_the_slots_wait_for_one() -> None:
    with fake_server("--ttft-ms", "200", "--slots", "1", "--itl-ms", "0") as endpoint:
        host = endpoint.url.removeprefix("http://")
        body = json.dumps({"model": MODEL, "prompt": "a", "max_tokens": 1})
        connections = [http.client.HTTPConnection(host) for _ in range(3)]
        began = time.perf_counter()
        for connection in connections:
            connection.request("POST", "/v1/completions", body)
        for connection in connections:
            connection.getresponse().read()
            connection.close()
        assert time.perf_counter() - began >= 0.6


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("exit_on_start=7", 7, "ending on start"),
        ("out_of_memory", 1, "fake: out of memory"),
        ("bad_flag", 2, "unrecognized arguments"),
        ("no_such_kind", 2, "unknown kind"),
        ("cut=much", 2, "is no number"),
    ],
)
def test_it_can_end_at_its_start(kind: str, code: int, said: str) -> None:
    with _process("--misbehave", kind) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert said in errors


def test_an_unknown_flag_ends_it_with_code_2() -> None:
    with _process("--no-such-flag", "3") as process:
        process.communicate(timeout=20)
    assert process.returncode == 2


def test_it_answers_503_until_it_is_ready_and_never_ready_for_ever() -> None:
    with _process("--start-s", "60") as slow, _process("--misbehave", "never_ready") as never:
        for process in (slow, never):
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with pytest.raises(urllib.error.HTTPError, match="503"):
                urllib.request.urlopen(url + "/health")


def test_it_can_ignore_sigterm_and_else_ends_with_code_0() -> None:
    with _process("--misbehave", "ignore_sigterm") as stubborn, _process() as kind:
        for process in (stubborn, kind):
            assert process.stdout is not None
            process.stdout.readline()
            process.terminate()
        assert kind.wait(timeout=20) == 0
        with pytest.raises(subprocess.TimeoutExpired):
            stubborn.wait(timeout=0.5)


def test_it_can_leave_an_orphan_in_another_session() -> None:
    with _process("--misbehave", "orphan") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        orphan = psutil.Process(int(next(line for line in lines if "orphan" in line).split()[-1]))
        assert orphan not in psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert orphan.is_running()
        orphan.kill()


def test_it_can_flood_its_log() -> None:
    with _process("--misbehave", "log_flood=1", "--start-s", "60") as process:
        assert process.stderr is not None
        assert len(process.stderr.read(1024 * 1024)) == 1024 * 1024


def test_a_share_of_failures_is_spread_evenly() -> None:
    with fake_server("--misbehave", "http_500=0.5") as endpoint:
        codes = []
        for _ in range(6):
            try:
                _ask(endpoint.url)
                codes.append(200)
            except urllib.error.HTTPError as error:
                codes.append(error.code)
                error.close()
    assert codes == [200, 500] * 3


def test_a_trickle_sends_less_than_a_line_in_a_second() -> None:
    with _process("--misbehave", "trickle") as process:
        assert process.stdout is not None
        host = process.stdout.readline().split()[-1].removeprefix("http://")
        process.stdout.readline()
        connection = http.client.HTTPConnection(host, timeout=0.5)
        connection.request("GET", "/health")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()


def test_every_misbehaviour_is_documented_in_its_help() -> None:
    said = subprocess.run([*ARGV, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in said for name in MISBEHAVIOURS)
