"""How often Slurm is asked, and what stands while it does not answer."""

import pytest

from optuna_tuner.deployers import seldom as seldom_module
from optuna_tuner.deployers.seldom import Seldom
from optuna_tuner.errors import DeployerError


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at


class Controller:
    """What is asked, and how often."""

    def __init__(self) -> None:
        self.asked, self.away = 0, False

    def ask(self) -> int:
        self.asked += 1
        if self.away:
            raise DeployerError("Unable to contact slurm controller")
        return self.asked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(seldom_module, "now", clock.now)
    return clock


def test_the_controller_is_asked_once_in_so_many_seconds(clock: Clock) -> None:
    seldom, controller = Seldom[int](2.0), Controller()
    assert [seldom.get("job", controller.ask) for _ in range(9)] == [1] * 9
    clock.at += 2.0
    assert [seldom.get("job", controller.ask) for _ in range(9)] == [2] * 9
    seldom.forget("job")
    assert seldom.get("job", controller.ask) == 3


def test_an_answer_stands_for_five_minutes_while_the_controller_is_away_and_it_is_not_pestered(clock: Clock) -> None:
    seldom, controller = Seldom[int](2.0), Controller()
    assert seldom.get("job", controller.ask) == 1
    controller.away = True
    for _ in range(149):
        clock.at += 2.0
        assert [seldom.get("job", controller.ask) for _ in range(3)] == [1, 1, 1]
    assert controller.asked == 150
    clock.at += 2.0
    with pytest.raises(DeployerError, match="Unable to contact"):
        seldom.get("job", controller.ask)


def test_without_an_answer_a_failure_is_told_at_once(clock: Clock) -> None:
    controller = Controller()
    controller.away = True
    assert clock.at
    with pytest.raises(DeployerError):
        Seldom[int](2.0).get("job", controller.ask)
