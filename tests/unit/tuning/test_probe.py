"""A question to a server is bounded as a whole, however slowly the answer comes."""

from collections.abc import Iterator
from concurrent.futures import Future, wait
from threading import Event

import pytest

from optuna_tuner.errors import DeployerError
from optuna_tuner.tuning import probe
from optuna_tuner.tuning.probe import Probe


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Until it is set, the slow server answers nothing."""
    monkeypatch.setattr(probe, "PROBE_WAIT_S", 0.001)
    event = Event()
    yield event
    event.set()


def test_a_slow_answer_is_asked_for_once_and_not_waited_for(answer: Event) -> None:
    asked: list[int] = []
    replied: Future[None] = Future()

    def ask() -> bool:
        asked.append(1)
        answer.wait()
        replied.set_result(None)
        return True

    probe = Probe()
    assert [probe.says_yes(ask) for _ in range(5)] == [False] * 5
    assert len(asked) == 1
    answer.set()
    wait([replied])
    assert any(probe.says_yes(lambda: False) or probe._asking is None for _ in range(1000))


def test_an_answer_that_comes_too_late_is_none(answer: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_TOTAL_S", -1.0)
    monkeypatch.setattr(probe, "PROBE_WAIT_S", 60)
    assert not Probe().says_yes(lambda: True)
    assert not answer.is_set()


@pytest.mark.parametrize("said", [True, False])
def test_an_answer_in_time_counts(said: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001  the answer
    monkeypatch.setattr(probe, "PROBE_WAIT_S", 60)
    assert Probe().says_yes(lambda: said) is said


def test_what_the_question_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_WAIT_S", 60)

    def ask() -> bool:
        raise DeployerError("another server answers on our port")

    with pytest.raises(DeployerError, match="another server"):
        Probe().says_yes(ask)
