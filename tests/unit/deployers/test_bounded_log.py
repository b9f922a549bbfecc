import errno
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from optuna_tuner.deployers.supervision.bounded_log import BoundedLog, read


def kept(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob("server.log*"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def test_a_short_log_is_kept_as_it_is(path: Path) -> None:
    log = BoundedLog(str(path), 1000)
    log.write(b"one\n")
    log.write(b"two\n")
    assert read(str(path)) == "one\ntwo\n"


def test_nothing_was_written_yet(path: Path) -> None:
    assert read(str(path)) == ""


def test_a_long_log_keeps_its_beginning_and_its_end(path: Path) -> None:
    log = BoundedLog(str(path), 1000)
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    text = read(str(path))
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("line 998\nline 999\n")
    assert text.count("was not kept") == 1
    assert kept(path) <= 1000


@pytest.mark.parametrize("size", [200, 201, 599, 600, 601, 999, 1000, 1001])
def test_nothing_is_said_to_be_missing_before_it_is(path: Path, size: int) -> None:
    log = BoundedLog(str(path), 1000)
    data = b"".join(b"%07d\n" % number for number in range(200))[:size]
    log.write(data)
    text = read(str(path))
    assert ("was not kept" in text) == (text != data.decode())
    assert kept(path) <= 1000


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=some.lists(some.binary(max_size=400), max_size=40))
def test_the_limit_holds_and_the_ends_are_true(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "server.log"
    log = BoundedLog(str(path), 1000)
    for part in parts:
        log.write(part)
    whole = b"".join(parts)
    assert kept(path) <= 1000
    assert (path.read_bytes()) == whole[:200]
    ends = [Path(f"{path}{suffix}") for suffix in (".old", ".new")]
    assert whole.endswith(b"".join(end.read_bytes() for end in ends if end.exists()))


def test_half_a_letter_is_no_error(path: Path) -> None:
    BoundedLog(str(path), 1000).write("é".encode()[:1])
    assert read(str(path)) == "\ufffd"


def test_a_disk_too_full_for_another_file_costs_words_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = BoundedLog(str(path), 1000)
    log.write(b"a" * 1000)
    with monkeypatch.context() as full:
        full.setattr(BoundedLog, "_open", staticmethod(no_space))
        log.write(b"b" * 900)
        log.write(b"c" * 900)
    log.write(b"d" * 10)
    text = read(str(path))
    assert text.startswith("a" * 200)
    assert text.endswith("d" * 10)
    assert kept(path) <= 1000


def no_space(_path: str) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")
