"""The command line on a tuner that only remembers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from fake_tuner import FakeTuner

from optuna_tuner.cli.app import cli
from optuna_tuner.cli.session import Session
from optuna_tuner.tuner import Tuner

Invoke = Callable[..., Result]


@pytest.fixture
def tuner() -> FakeTuner:
    return FakeTuner("sqlite:///never-opened.db")


@pytest.fixture
def invoke(tuner: FakeTuner) -> Invoke:
    """Run a command line on the fake tuner."""

    def run(*args: str, **settings: object) -> Result:
        def open_fake(storage: str | None) -> Tuner:
            tuner.asked.append(("open", storage))
            return tuner

        return CliRunner(env={"NO_COLOR": None}).invoke(cli, args, obj=Session(open=open_fake), **settings)  # type: ignore[arg-type]  # CliRunner's own settings

    return run
