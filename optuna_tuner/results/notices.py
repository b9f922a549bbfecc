"""Tells people that a study has ended, wherever they read: by apprise, at the addresses in an environment variable.

The addresses hold tokens. They are never printed, and no message of apprise's own, which may hold them, is let through.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.results.diff import flag_changes
from optuna_tuner.results.rechecked import recheck_text
from optuna_tuner.results.views import StudyView
from optuna_tuner.results.wording import exact, span

if TYPE_CHECKING:
    import apprise

VARIABLE = "OPTUNA_TUNER_NOTIFY"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is sent."""

    title: str
    text: str


def notice_of(study: StudyView) -> Notice:
    """How a study ended, and what it found."""
    return Notice(f"{study.name}: {study.state.value}", "\n".join(filter(None, _lines(study))))


def notice_of_failure(name: str, error: BaseException) -> Notice:
    """That a study could not go on."""
    return Notice(f"{name}: ended with an error", str(error) or type(error).__name__)


def channel() -> Channel | None:
    """Where notices go; None where nobody asked for any.

    Raises EnvironmentFaultError where apprise is missing or an address is not understood: before a night, not after it.
    """
    addresses = os.environ.get(VARIABLE, "").split()
    return Channel(addresses) if addresses else None


class Channel:
    """All addresses."""

    def __init__(self, addresses: list[str]) -> None:
        """Raises EnvironmentFaultError, which names an address by its place only."""
        self._services = [_service(place, address) for place, address in enumerate(addresses, 1)]

    def send(self, notice: Notice) -> str:
        """Send it everywhere; returns what went wrong, in words, and raises nothing."""
        taken = [bool(service.notify(body=notice.text, title=notice.title)) for service in self._services]
        lost = [str(place) for place, each in enumerate(taken, 1) if not each]
        return f"The notice did not reach address {', '.join(lost)} of {VARIABLE}." if lost else ""


def _service(place: int, address: str) -> apprise.Apprise:
    try:
        import apprise  # noqa: PLC0415  an extra
    except ImportError as error:
        raise EnvironmentFaultError(
            f"{VARIABLE} is set, and apprise is missing: pip install 'optuna-tuner[notify]'"
        ) from error
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    service = apprise.Apprise()
    if not service.add(address):
        raise EnvironmentFaultError(
            f"address {place} of {VARIABLE} is none that apprise understands; "
            "several are separated by blanks, and blanks within one are written %20"
        )
    return service


def _lines(study: StudyView) -> Iterator[str]:
    yield study.spec.notice
    yield f"{study.spent} of {study.budget} trials in {span(study.elapsed_s)}; {study.counts.feasible} feasible"
    yield f"It was ended: {study.ended_because}" if study.ended_because else ""
    if study.older:
        yield recheck_text(study)
        return
    best = study.best.trial
    yield study.comparison.text if study.comparison.gains else f"{study.best.text} {study.comparison.text}"
    if best:
        changes = [row for row in flag_changes(study.spec.fixed_flags, best.params) if row.changed]
        yield "Flags: " + (", ".join(f"{row.flag}={exact(row.best)}" for row in changes) or "the engine's own")
