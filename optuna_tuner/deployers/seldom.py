"""How often a cluster's controller is asked, whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from optuna_tuner.clock import now
from optuna_tuner.errors import DeployerError

_OUTAGE_S = 300.0  # a controller that is restarted comes back within minutes, and its jobs run on meanwhile

Found = TypeVar("Found")


@dataclass(slots=True)
class Seldom(Generic[Found]):
    """Remembers an answer for `every_s` seconds, so that nobody is asked more often. For several threads."""

    every_s: float
    _lock: Lock = field(default_factory=Lock)
    _asked_at: dict[str, float] = field(default_factory=dict)
    _answers: dict[str, tuple[float, Found]] = field(default_factory=dict)

    def get(self, key: str, ask: Callable[[], Found]) -> Found:
        """The answer, at most so old; the last one stands for `_OUTAGE_S` while nobody answers."""
        with self._lock:
            known = self._answers.get(key)
            if known and now() - self._asked_at[key] < self.every_s:
                return known[1]
            self._asked_at[key] = now()
            try:
                answer = ask()
            except DeployerError:
                if known and now() - known[0] < _OUTAGE_S:
                    return known[1]
                raise
            self._answers[key] = now(), answer
            return answer

    def forget(self, key: str) -> None:
        """Ask anew next time."""
        with self._lock:
            self._answers.pop(key, None)
