import sys
from typing import ClassVar

import pytest

from optuna_tuner.testing.engine_cases import EngineCases
from optuna_tuner.testing.fake_engine import FakeEngine
from optuna_tuner.testing.fake_process import fake_server
from optuna_tuner.values import Cause, Params


class TestFake(EngineCases):
    engine_class = FakeEngine
    good = Params(flags={"ttft_ms": 20, "itl_ms": 2.5, "slots": 4, "misbehave": "none"})
    aliases: ClassVar = {"--ttft-ms": "ttft_ms", "start-s": "start_s"}
    logs: ClassVar = {
        "fake: listening on http://127.0.0.1:1\nfake: out of memory\n": (1, Cause.OUT_OF_MEMORY_POOL),
        "fake: error: unrecognized arguments: --no-such-flag\n": (2, Cause.BAD_FLAG),
        "fake_server: error: argument --slots: invalid int value: 'x'\n": (2, Cause.BAD_FLAG),
        "OSError: [Errno 98] error while attempting to bind: address already in use\n": (1, Cause.PORT_IN_USE),
        "fake: GPU-a is busy: another process holds its memory\n": (1, Cause.DEVICE_BUSY),
        "fake: ending on start, as asked\n": (3, Cause.CRASHED),
    }

    def test_the_command_line_is_the_fake_servers(self) -> None:
        params = Params(flags={"itl_ms": 2, "misbehave": "http_500=0.5, no_usage"})
        assert self.engine(flags={"itl-ms": 9, "ttft_ms": 20}).render(self.model, params, self.slot).argv == (
            *(sys.executable, "-m", "optuna_tuner.testing.fake_server"),
            *("--host", "{host}", "--port", "{port}", "--model", "tiny"),
            *("--itl-ms", "2", "--misbehave", "http_500=0.5", "--misbehave", "no_usage", "--ttft-ms", "20"),
        )

    def test_another_program_takes_the_same_flags(self) -> None:
        engine = self.engine(command=["python3", "mine.py"], flags={"ttft_ms": 20})
        assert engine.render(self.model, Params(), self.slot).argv == (
            *("python3", "mine.py", "--host", "{host}", "--port", "{port}", "--model", "tiny", "--ttft-ms", "20"),
        )

    @pytest.mark.parametrize("misbehave", ["", "none"])
    def test_no_misbehaviour_is_said_by_silence(self, misbehave: str) -> None:
        assert "--misbehave" not in self.launch(Params(flags={"misbehave": misbehave})).argv

    def test_a_silent_end_is_told_by_its_exit_code(self) -> None:
        assert self.engine().diagnose("", -9).evidence == "ended with exit code -9 without a word"

    def test_a_time_below_zero_is_rejected(self) -> None:
        assert self.engine().reject(self.model, Params(flags={"ttft_ms": -1}), self.slot) == "ttft_ms is below zero"

    def test_a_running_fake_says_what_it_is(self) -> None:
        with fake_server("--ttft-ms", "7", "--slots", "3") as endpoint:
            assert self.engine().identify(endpoint) == endpoint.model
            config = self.engine().effective_config(endpoint, "")
        assert (config["ttft_ms"], config["slots"]) == (7, 3)
        assert "model" not in config
