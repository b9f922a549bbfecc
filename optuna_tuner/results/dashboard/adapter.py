"""Teaches optuna-dashboard 0.21 what Optuna 5 knows: which trials are feasible.

The dashboard reads constraints from a place where Optuna 5 no longer writes them, and it ignores them when it looks
for the best trial, for the Pareto front and for importances. It offers no hook for any of this, so this file, and no
other, reaches for private names of optuna and optuna-dashboard. Both are pinned, and
tests/integration/test_dashboard.py holds the promise: an infeasible trial is never shown as the best.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import cache

import optuna_dashboard._app as dashboard
from optuna._typing import JSONSerializable
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._importance import convert_to_importance_type
from optuna_dashboard._inmemory_cache import InMemoryCache

from optuna_tuner.results.importance import importance_of

NEW_PREFIX = "constraints:"  # Optuna 5 writes one attribute for each constraint
OLD_KEY = "constraints"  # the dashboard reads one list


class DashboardStorage(_CachedStorage):
    """Optuna's cached storage, as the dashboard needs it. It changes the trials that it reads: share it with nobody."""

    def __init__(self, storage: BaseStorage, writing: BaseStorage) -> None:
        """`storage` may be one that only reads; what little the dashboard writes goes to `writing`."""
        backend = storage._backend if isinstance(storage, _CachedStorage) else storage  # noqa: SLF001  no other way to it
        if not isinstance(backend, RDBStorage):
            raise TypeError(f"the dashboard needs a database, not {type(backend).__name__}")
        super().__init__(backend)
        self._writing = writing

    def set_study_system_attr(self, study_id: int, key: str, value: JSONSerializable) -> None:
        """Where the dashboard keeps notes."""
        self._writing.set_study_system_attr(study_id, key, value)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: FBT001, FBT002  Optuna's own signature
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """All trials, with their constraints where the dashboard looks for them."""
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        for trial in trials:
            _show_constraints(trial)
        return trials

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best feasible trial; the best of all, which `_feasible_only` takes out again, when none is feasible."""
        ran = [trial for trial in self.get_all_trials(study_id, deepcopy=False) if trial.state is TrialState.COMPLETE]
        if not ran:
            raise ValueError("No trial has run to its end yet.")
        sign = -1.0 if self.get_study_directions(study_id)[0] is StudyDirection.MAXIMIZE else 1.0
        return min([trial for trial in ran if feasible(trial)] or ran, key=lambda trial: sign * trial.values[0])


def _show_constraints(trial: FrozenTrial) -> None:
    attributes = trial._system_attrs  # noqa: SLF001  the only place that the dashboard reads
    if OLD_KEY not in attributes:
        constraints = [value for key, value in sorted(attributes.items()) if key.startswith(NEW_PREFIX)]
        if constraints:
            # A new mapping: another thread may be reading the old one.
            trial._system_attrs = {**attributes, OLD_KEY: constraints}  # noqa: SLF001  likewise


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial keeps every constraint."""
    return all(value <= 0 for value in trial._system_attrs.get(OLD_KEY, ()))  # noqa: SLF001  likewise


@cache
def teach_dashboard() -> None:
    """Put our reading in the place of the dashboard's, once in a process."""
    front, detail, properties = (
        dashboard.get_pareto_front_trials,
        dashboard.serialize_study_detail,
        dashboard.get_cached_extra_study_property,
    )

    def feasible_front(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
        return list(front(trials=[trial for trial in trials if feasible(trial)], directions=directions))

    def feasible_detail(study: FrozenStudy, best: list[FrozenTrial], *rest: object) -> dict[str, object]:
        return dict(detail(study, [trial for trial in best if feasible(trial)], *rest))

    def sampled_properties(cached: InMemoryCache, study_id: int, trials: list[FrozenTrial]) -> tuple[object, ...]:
        # The baseline samples nothing; it would empty the space that all trials share, and the plots with it.
        sampled = [trial for trial in trials if trial.distributions or not trial.state.is_finished()]
        return tuple(properties(cached, study_id, sampled))

    dashboard.get_pareto_front_trials = feasible_front
    dashboard.serialize_study_detail = feasible_detail
    dashboard.get_cached_extra_study_property = sampled_properties
    dashboard.get_param_importance_from_trials_cache = _importances


def _importances(
    _cached: InMemoryCache, _storage: BaseStorage, _study_id: int, objective: int, trials: list[FrozenTrial]
) -> list[dict[str, object]]:
    """Importances by fANOVA where it can run, in the dashboard's own form."""
    found = importance_of(trials, objective)
    sampled = [trial for trial in trials if trial.distributions]
    return list(convert_to_importance_type(dict(found.shares), sampled))
