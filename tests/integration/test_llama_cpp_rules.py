"""The known rules of llama.cpp, each shown by the embedded server itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.engines.embedded import resolve_model
from optuna_tuner.engines.known_causes import sign_book
from optuna_tuner.engines.known_rules import KnownRule, rule_book
from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.values import Params, Scalar, Slot

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

pytestmark = pytest.mark.embedded
PATIENCE_S = 60.0
CPU = Slot(name="cpu", host="here")
REFUSING = [rule for rule in rule_book("llama_cpp").rules if rule.effect.rejects]


class Launches:
    """Starts the embedded server, and says whether it came to serve."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def serves(self, flags: Mapping[str, Scalar]) -> bool:
        launch = LlamaCpp(LlamaCppOptions()).render(
            resolve_model("tiny", "builtin", None), Params(flags={"threads": 1, **flags}), CPU
        )
        log = self._folder / f"server-{len(self._started)}.log"
        argv = [{"{host}": "127.0.0.1", "{port}": "0"}.get(argument, argument) for argument in launch.argv]
        with log.open("wb") as out:
            server = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, **launch.env})
        self._started.append(server)

        def look() -> bool | None:
            if server.poll() is not None:
                return False
            return sign_book("llama_cpp").ready in log.read_text(encoding="utf-8", errors="replace") or None

        verdict = poll(look, Deadline.after(PATIENCE_S), every_s=0.05)
        assert verdict is not None, log.read_text(encoding="utf-8", errors="replace")
        return verdict

    def end(self) -> None:
        for server in self._started:
            server.kill()
            server.wait()


@pytest.fixture
def launches(tmp_path: Path) -> Iterator[Launches]:
    started = Launches(tmp_path)
    yield started
    started.end()


@pytest.mark.parametrize("rule", REFUSING, ids=[rule.id for rule in REFUSING])
def test_the_server_refuses_the_example_and_takes_its_neighbour(launches: Launches, rule: KnownRule) -> None:
    assert not launches.serves(rule.breaks)
    assert launches.serves(rule.keeps)
