"""The recommended flags as a difference to the engine's default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optuna_tuner.values import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagChange:
    """One flag or variable. None as `default` is the engine's own default; None as `best` leaves it there."""

    flag: str
    default: Scalar | None
    best: Scalar | None
    own: Scalar | None = None  # what the engine's own default came to, where the default's server told it

    @property
    def changed(self) -> bool:
        """Whether the recommendation says anything else than the default does."""
        return (type(self.default), self.default) != (type(self.best), self.best)

    @property
    def differs(self) -> bool:
        """Whether its server has another value than the default's, as far as that one told."""
        return self.changed and not (self.default is None and self.best == self.own)


def flag_changes(
    fixed: Mapping[str, Scalar], best: Mapping[str, Scalar], resolved: Mapping[str, Scalar] | None = None
) -> tuple[FlagChange, ...]:
    """One row for each flag that is fixed in the study or sampled in the best trial; changed ones first, then by name.

    A fixed flag that the best trial did not sample stays as it is. `resolved` is what the default's server told.
    """
    rows = [
        FlagChange(
            flag=flag, default=fixed.get(flag), best=best.get(flag, fixed.get(flag)), own=(resolved or {}).get(flag)
        )
        for flag in {**fixed, **best}
    ]
    return tuple(sorted(rows, key=lambda row: (not row.changed, row.flag)))
