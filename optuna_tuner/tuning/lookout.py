"""What a worker looks out for beside its trial: silent workers, and a user who ends its trial in Optuna's history."""

from __future__ import annotations

from typing import Self

from optuna.trial import Trial

from optuna_tuner.store.store import Store
from optuna_tuner.tuning.pulse import Pulse
from optuna_tuner.tuning.reaper import Reaper

NOTICE_EVERY_S = 5.0


class Lookout:
    """Looks around in threads of its own, so that neither the heart nor a trial waits for it."""

    def __init__(self, store: Store, reaper: Reaper) -> None:
        self._store = store
        self._trial: tuple[str, int] | None = None
        self._pulses = (
            Pulse("leases", reaper.look, reaper.leases.look_every_s),
            Pulse("history", self.notice, NOTICE_EVERY_S),
        )

    def __enter__(self) -> Self:
        for pulse in self._pulses:
            pulse.start()
        return self

    def __exit__(self, *_: object) -> None:
        for pulse in self._pulses:
            pulse.close(0.0)

    def follow(self, attempt_id: str, trial: Trial) -> None:
        """From now on this attempt ends when somebody ends its trial in Optuna's history."""
        self._trial = (attempt_id, trial._trial_id)  # noqa: SLF001  Optuna's storages know a trial by nothing else

    def leave(self) -> None:
        """Nothing is to be followed: from here on it is we who end the trial."""
        self._trial = None

    def notice(self) -> None:
        """Ask for the attempt's end if Optuna's trial is finished, as plain optuna-dashboard can do. Reads only."""
        followed = self._trial
        if followed is None:
            return
        attempt_id, trial_id = followed
        storage = self._store.optuna_storage(reading=True)
        state = self._store.weathered(lambda: storage.get_trial(trial_id).state)
        if state.is_finished() and self._trial == followed:
            self._store.attempts.request_cancel(attempt_id)
