"""What a study tries before its sampler chooses: the file's own `first`, then what is found elsewhere.

What older studies measured comes before what a program predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optuna_tuner.contracts import Kinds
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.carrying import NOTHING_FOUND, Found
from optuna_tuner.tuning.prediction import predicted
from optuna_tuner.tuning.warm_start import found
from optuna_tuner.values import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is added to a study's `first`, and from where. `kept` was found when the study was made."""

    older: Found = NOTHING_FOUND
    predicted: Found = NOTHING_FOUND
    kept: tuple[Mapping[str, Scalar], ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What one should know of it."""
        return (*self.older.remarks, *self.predicted.remarks)

    def added_to(self, spec: StudySpec) -> StudySpec:
        """The study with all of it in `first`."""
        more = [*self.kept, *(each.chosen for each in (*self.older.taken, *self.predicted.taken))]
        return spec.model_copy(update={"first": (*spec.first, *more)}) if more else spec


FROM_NOTHING = Beginning()


def beginning(store: Store, spec: StudySpec, kinds: Kinds) -> Beginning:
    """Look for it once, when the study is made; from then on it is what it was.

    Raises NotFoundError for an older study that is not there, ConflictError for one of another engine, and
    EnvironmentFaultError for a prediction that fails; SpecError where nobody says of what it shall be.
    """
    if spec.warm_start is None and spec.prior is None:
        return FROM_NOTHING
    record = next((each for each in store.studies.all() if each.name == spec.name), None)
    if record is not None:
        known = StudySpec.model_validate_json(record.spec_json)
        return Beginning(kept=tuple(each for each in known.first if each not in spec.first))
    older = found(store, spec, kinds)
    tried = (*spec.first, *(each.chosen for each in older.taken))
    return Beginning(older=older, predicted=predicted(spec, kinds, tried))
