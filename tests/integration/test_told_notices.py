"""The end of a study arrives at a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner
from fake_tuner import FakeTuner

from optuna_tuner.cli.app import cli
from optuna_tuner.cli.session import Session
from optuna_tuner.errors import StoreError
from optuna_tuner.results.notices import VARIABLE

pytest.importorskip("apprise", reason="apprise is not installed: the extra notify")


class Post(HTTPServer):
    """Keeps what is sent to it; answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[dict[str, str]] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: Post

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    with Post() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(VARIABLE, f"json://127.0.0.1:{server.server_port}/token-abc")
        yield server
        server.shutdown()


def run(tuner: FakeTuner) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["run", "sample"], obj=Session(open=lambda _: tuner))
    return done.exit_code, done.output


def test_the_end_of_a_study_is_told(post: Post) -> None:
    assert run(FakeTuner("sqlite:///never-opened.db"))[0] == 0
    [notice] = post.got
    assert notice["title"].startswith("sample: ")
    assert "Flags: enable_prefix_caching=true, " in notice["message"]


def test_so_is_what_ended_it_with_an_error(post: Post) -> None:
    tuner = FakeTuner("sqlite:///never-opened.db")
    tuner.raises = StoreError("the database is away")
    assert run(tuner)[0] != 0
    assert [notice["message"] for notice in post.got] == ["the database is away"]


def test_a_notice_that_does_not_arrive_changes_nothing_and_shows_no_token(post: Post) -> None:
    post.status = 500
    code, said = run(FakeTuner("sqlite:///never-opened.db"))
    assert code == 0
    assert "The notice did not reach address 1 of OPTUNA_TUNER_NOTIFY." in said
    assert "token-abc" not in said
