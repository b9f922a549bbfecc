from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import httpx
import pytest
import stamina

from optuna_tuner.catalog.wheels import package_index, wheel
from optuna_tuner.catalog.wheels.remote_file import BLOCK
from optuna_tuner.errors import CatalogError

LARGE = 40 * BLOCK
NAMES = (
    "abacus-1.0-cp39-abi3-manylinux_2_28_aarch64.whl",
    "abacus-1.0-cp39-abi3-manylinux_2_28_x86_64.whl",
    "abacus-1.0.tar.gz",
    "abacus-1.2-py3-none-any.whl",
    "abacus-1.10-py3-none-any.whl",
    "abacus-2.0-cp39-abi3-macosx_11_0_arm64.whl",
)


def made_wheel() -> bytes:
    """A wheel with one small member behind a large one."""
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_STORED) as archive:
        archive.writestr("abacus/large.so", b"\0" * LARGE)
        archive.writestr("abacus/flags.py", "BEADS = 10\n")
    return stream.getvalue()


class Index:
    """A package index and the files behind it, in memory. `sent` counts the bytes of wheels."""

    def __init__(self) -> None:
        self.content = made_wheel()
        self.sent = 0
        self.asked: list[str] = []

    def page(self) -> str:
        links = (f'<a href="../../files/{name}#sha256=5eed">{name}</a>' for name in NAMES)
        return f"<!DOCTYPE html><html><body>{'<br/>'.join(links)}</body></html>"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if request.url.path.endswith("/simple/abacus/"):
            return httpx.Response(200, text=self.page())
        if not request.url.path.startswith("/files/"):
            return httpx.Response(404)
        first, last = map(int, re.findall(r"\d+", request.headers["Range"]))
        part = self.content[first : last + 1]
        self.sent += len(part)
        stated = f"bytes {first}-{first + len(part) - 1}/{len(self.content)}"
        return httpx.Response(206, content=part, headers={"Content-Range": stated})


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index()
    answered_by(monkeypatch, made)
    return made


def answered_by(monkeypatch: pytest.MonkeyPatch, handler: Callable[[httpx.Request], httpx.Response]) -> None:
    @contextmanager
    def client() -> Iterator[httpx.Client]:
        with httpx.Client(transport=httpx.MockTransport(handler)) as made:
            yield made

    monkeypatch.setenv("PIP_INDEX_URL", "https://me:secret@index.test/simple/")
    monkeypatch.setattr(package_index, "http_client", client)
    monkeypatch.setattr(wheel, "http_client", client)


def test_only_the_parts_that_hold_what_is_asked_for_are_downloaded(index: Index) -> None:
    with wheel.open_wheel("abacus", "1.10") as opened:
        assert opened.names() == ("abacus/large.so", "abacus/flags.py")
        assert opened.text("abacus/flags.py") == "BEADS = 10\n"
        assert opened.source == {"wheel": "abacus-1.10-py3-none-any.whl", "sha256": "5eed"}
    assert index.sent <= 3 * BLOCK < LARGE


def test_a_large_member_is_read_whole(index: Index) -> None:
    with wheel.open_wheel("abacus", "1.10") as opened:
        assert len(opened.text("abacus/large.so")) == LARGE
    assert index.sent <= len(index.content) + BLOCK


def test_a_member_that_is_not_there_is_a_key_error(index: Index) -> None:
    assert index.sent == 0
    with wheel.open_wheel("abacus", "1.2") as opened, pytest.raises(KeyError):
        opened.text("abacus/beads.py")


def test_the_wheel_for_the_machines_that_serve_is_taken(index: Index) -> None:
    with wheel.open_wheel("abacus", "1.0") as opened:
        assert opened.source["wheel"] == "abacus-1.0-cp39-abi3-manylinux_2_28_x86_64.whl"
    assert not any("aarch64" in url for url in index.asked)


def test_versions_are_in_the_order_of_releases(index: Index) -> None:
    assert wheel.versions("abacus") == ("1.0", "1.2", "1.10")
    assert index.sent == 0


@pytest.mark.parametrize(
    ("project", "version", "said"),
    [
        ("abacus", "1.3", r"has no wheel of abacus 1\.3; the nearest are 1\.0, 1\.2, 1\.10"),
        ("abacus", "beads", '"beads" is no version; an example of one is 1.10'),
        ("abacus", "2.0", "no wheel for Linux on x86_64, only abacus-2.0-cp39-abi3-macosx"),
        ("sliderule", "1.0", 'says that there is no package "sliderule"'),
    ],
)
def test_what_is_not_there_is_said_in_plain_words(index: Index, project: str, version: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said) as caught, wheel.open_wheel(project, version):
        pass
    assert "secret" not in str(caught.value)
    assert index.sent == 0


def test_a_server_that_ignores_ranges_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index()

    def whole(request: httpx.Request) -> httpx.Response:
        return index(request) if "simple" in request.url.path else httpx.Response(200, stream=Endless())

    answered_by(monkeypatch, whole)
    with pytest.raises(CatalogError, match="gives no parts of files"), wheel.open_wheel("abacus", "1.2"):
        pass


class Endless(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"\0" * BLOCK


def test_a_server_that_gives_other_bytes_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index()

    def short(request: httpx.Request) -> httpx.Response:
        answer = index(request)
        if "Content-Range" not in answer.headers:
            return answer
        return httpx.Response(
            206, content=answer.content[:-1], headers={"Content-Range": answer.headers["Content-Range"]}
        )

    answered_by(monkeypatch, short)
    with pytest.raises(CatalogError, match="other bytes"), wheel.open_wheel("abacus", "1.2"):
        pass


def test_an_index_that_is_away_is_asked_again_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def away(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        raise httpx.ConnectError("no route", request=request)

    answered_by(monkeypatch, away)
    with (
        stamina.set_testing(True, attempts=package_index.ATTEMPTS),
        pytest.raises(CatalogError, match=r"index https://index\.test/simple/abacus/ cannot be reached: no route"),
    ):
        wheel.versions("abacus")
    assert len(asked) == package_index.ATTEMPTS


def test_a_wheel_on_this_machine_tells_its_own_checksum(tmp_path: Path) -> None:
    path = tmp_path / "abacus-1.10-py3-none-any.whl"
    path.write_bytes(made_wheel())
    with wheel.local_wheel(path) as opened:
        assert (opened.project, opened.version) == ("abacus", "1.10")
        assert opened.text("abacus/flags.py") == "BEADS = 10\n"
        assert opened.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "said"), [("abacus.whl", "is not named as wheels are"), ("abacus-1-py3-none-any.whl", "is no wheel")]
)
def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_text("no archive")
    with pytest.raises(CatalogError, match=said), wheel.local_wheel(tmp_path / name):
        pass


def test_a_wheel_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"), wheel.local_wheel(tmp_path / "abacus-1-py3-none-any.whl"):
        pass
