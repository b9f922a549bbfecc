"""Writes into Optuna's history what makes the dashboard useful: attributes, notes, figures, artifacts.

What is there already is not written again, so that filling twice costs one read. Only attributes of the study are
written, where the dashboard looks too: Optuna allows no others once a trial has ended.

By the keys of optuna-dashboard 0.21, which are repeated here: importing it loads scikit-learn, which took three tenths
of the CPU time of a short run. tests/integration/test_dashboard_notes.py holds them against its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import count, takewhile
from typing import TYPE_CHECKING

from optuna.storages import BaseStorage
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import FrozenTrial

from optuna_tuner.results import figures
from optuna_tuner.results.dashboard.notes import is_ours, running_note, study_note, trial_note
from optuna_tuner.results.dashboard.shelf import Exhibit, Shelf
from optuna_tuner.results.importance import importance_of
from optuna_tuner.results.views import ACTIVE, StudyView
from optuna_tuner.values import Json

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PIECE = 2045  # characters of an attribute at most


class _Page:
    """One study's attributes in Optuna's history: read once, written where they differ."""

    def __init__(self, storage: BaseStorage, name: str) -> None:
        self.storage = storage
        self.id = storage.get_study_id_from_name(name)
        self.system = storage.get_study_system_attrs(self.id)
        self.user = storage.get_study_user_attrs(self.id)

    def say(self, name: str, value: Json) -> None:
        """A user attribute."""
        if self.user.get(name) != value:
            self.storage.set_study_user_attr(self.id, name, value)

    def name_values(self, metrics: list[str]) -> None:
        """What the objective values are called."""
        if self.system.get(_SYSTEM_ATTR_METRIC_NAMES) != metrics:
            self.storage.set_study_system_attr(self.id, _SYSTEM_ATTR_METRIC_NAMES, metrics)

    def note(self, trial_id: int | None, body: str) -> None:
        """The note of a trial, or of the study; a user's own is left alone."""
        place = "dashboard" if trial_id is None else f"dashboard:{trial_id}"
        present = self._read(f"{place}:note_str:")
        if present != body and is_ours(present):
            version = f"{place}:note_ver"
            self._write(version, self.system.get(version, 0) + 1)
            self._put(f"{place}:note_str:", body)

    def draw(self, name: str, figure_json: str) -> None:
        """A figure."""
        if self._read(f"dashboard:plot_data:{name}:") != figure_json:
            self._put(f"dashboard:plot_data:{name}:", figure_json)

    def attach(self, trial_id: int | None, artifact_id: str, meta: str) -> None:
        """An artifact of a trial, or of the study."""
        of_trial = f"dashboard:artifacts:{trial_id}:{artifact_id}"
        key = f"artifacts:{artifact_id}" if trial_id is None else of_trial
        if self.system.get(key) != meta:
            self._write(key, meta)

    def _read(self, prefix: str) -> str:
        """A long text."""
        return "".join(self.system[key] for key in self._keys(prefix))

    def _put(self, prefix: str, text: str) -> None:
        """The same in as many pieces as it needs; those of a longer one before it become empty."""
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        for number, piece in enumerate(pieces):
            self._write(f"{prefix}{number}", piece)
        for key in self._keys(prefix)[len(pieces) :]:
            self._write(key, "")

    def _keys(self, prefix: str) -> Sequence[str]:
        return tuple(takewhile(self.system.__contains__, (f"{prefix}{number}" for number in count())))

    def _write(self, key: str, value: Json) -> None:
        self.storage.set_study_system_attr(self.id, key, value)


def hang(storage: BaseStorage, name: str, exhibit: Exhibit) -> None:
    """List a file among the study's own. Raises KeyError when Optuna has no study of this name."""
    _Page(storage, name).attach(None, exhibit.id, exhibit.meta())


def fill(storage: BaseStorage, study: StudyView, shelf: Shelf) -> None:
    """Bring one study's pages in the dashboard up to date. Idempotent; `storage` must be able to write.

    Raises KeyError when Optuna has no study of this name.
    """
    page = _Page(storage, study.name)
    told = {trial.number: trial for trial in storage.get_all_trials(page.id, deepcopy=False)}
    page.name_values([objective.metric for objective in study.spec.goals.objectives])
    for name, value in _attributes(study).items():
        page.say(name, value)
    best = study.best.trial
    page.note(None, study_note(study, shelf.command(study.id, best.attempt_id) if best else ""))
    for name, figure in _figures(study, list(told.values())).items():
        page.draw(name, str(figure.to_json()))
    for trial in study.trials:
        if trial.number in told:
            trial_id = told[trial.number]._trial_id  # noqa: SLF001  by which the dashboard knows it
            ended = trial.state not in ACTIVE
            page.note(trial_id, trial_note(study, trial) if ended else running_note(trial))
            for exhibit in shelf.exhibits(study.id, trial.attempt_id) if ended else ():
                page.attach(trial_id, exhibit.id, exhibit.meta())


def _attributes(study: StudyView) -> dict[str, Json]:
    """What the study's page shows in its table of attributes."""
    spec, best = study.spec, study.best.trial
    known: dict[str, Json] = {
        "state": study.state.value,
        "notice": spec.notice,
        "kind": study.kind,
        "engine": spec.engine.kind,
        "engine_version": str(spec.engine.options.get("version") or ""),
        "model": spec.model.name,
        "benchmark": spec.benchmark.kind,
        "hosts": ", ".join(sorted({trial.host for trial in study.trials if trial.host})),
        "slots": ", ".join(sorted({trial.slot for trial in study.trials if trial.slot})),
        "slo": "; ".join(constraint.name for constraint in spec.goals.constraints),
        "best_trial": best.number if best else None,
        "gain": study.comparison.text,
        "spec_sha256": hashlib.sha256(spec.model_dump_json().encode()).hexdigest(),
    }
    return {name: value for name, value in known.items() if value not in {"", None}}


def _figures(study: StudyView, told: list[FrozenTrial]) -> dict[str, Figure]:
    """All figures by their ids in the page."""
    drawn: dict[str, Figure] = {}
    for place, objective in enumerate(study.spec.goals.objectives):
        drawn[f"history-{place}"] = figures.history(study, place)
        found = importance_of(told, place)
        if found.shares:
            drawn[f"importance-{place}"] = figures.importance(found, objective.metric)
    for metric in figures.LOAD_METRICS:
        if any(metric in level.metrics for trial in study.trials for level in trial.measurements):
            drawn[f"load-{metric}"] = figures.load_curves(study, metric)
    if study.causes:
        drawn["causes"] = figures.causes(study)
    if any(trial.phases_s for trial in study.trials):
        drawn["phases"] = figures.phase_times(study)
    return drawn
