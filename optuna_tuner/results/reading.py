"""From the store to a view."""

from __future__ import annotations

from datetime import UTC, datetime

from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import StudyRecord
from optuna_tuner.store.store import Store


def read_study(store: Store, record: StudyRecord) -> StudyView:
    """Everything that is known of a study now."""
    return study_view(
        record,
        StudySpec.model_validate_json(record.spec_json),
        store.attempts.of(record.id),
        store.workers.all(record.id),
        datetime.now(UTC),
        store.events.choices(record.id),
    )
