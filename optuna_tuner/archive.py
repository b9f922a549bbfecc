"""The half of the front door that changes nothing: studies as they are, and what can be taken from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Engine
from optuna_tuner.home import artifacts_folder, default_storage
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.results.export import Export
from optuna_tuner.results.export.formats import exported
from optuna_tuner.results.reading import read_study
from optuna_tuner.results.side_by_side import Difference
from optuna_tuner.results.side_by_side.finding import difference_of
from optuna_tuner.results.side_by_side.sides import side
from optuna_tuner.results.task_document import task_document
from optuna_tuner.results.tracking import Tracked, TrackerKind
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import AT_REST, StudyView
from optuna_tuner.results.why import Why, read_why
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.foreseen import anywhere
from optuna_tuner.tuning.logs import server_log
from optuna_tuner.tuning.model import model_paths
from optuna_tuner.tuning.problem import problem_of
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Json

if TYPE_CHECKING:
    from optuna_tuner.results.bundle.environment import Change, Facts
    from optuna_tuner.results.bundle.original import Original
    from optuna_tuner.results.bundle.run import Run
    from optuna_tuner.results.report.document import Report
    from optuna_tuner.results.report.efficiency import Price


class Archive:
    """Studies in one database. `storage` is a database URL; without one, `OPTUNA_TUNER_STORAGE` or SQLite at home.

    Opening touches nothing: the database is made at the first call that needs it. Methods raise TunerError only.
    """

    def __init__(self, storage: str | None = None) -> None:
        self.storage = storage or default_storage()
        self._kinds = InstalledKinds()

    @cached_property
    def _store(self) -> Store:
        return Store.open(self.storage)

    def close(self) -> None:
        """Let go of the database."""
        if "_store" in self.__dict__:
            self._store.close()
            del self.__dict__["_store"]

    def studies(self) -> tuple[StudyView, ...]:
        """All studies, the oldest first."""
        return tuple(self._view(record) for record in self._store.studies.all())

    def study(self, name: str) -> StudyView:
        """One study with its trials, its best and the gain over the baseline. Raises NotFoundError."""
        return self._view(self._store.studies.get(name))

    def trials(self, name: str) -> tuple[TrialView, ...]:
        """All trials of a study, by number."""
        return self.study(name).trials

    def trial(self, name: str, number: int) -> TrialView:
        """One trial. Raises NotFoundError."""
        return self.study(name).trial(number)

    def best(self, name: str) -> TrialView | None:
        """The best feasible trial so far; None when nothing is feasible."""
        return self.study(name).best.trial

    def why(self, name: str) -> Why:
        """What each flag of the best trial is worth, and what more trials could bring, as predicted.

        Raises NotFoundError, and UnknownPluginError where this machine lacks the study's engine.
        """
        study = self.study(name)
        engine = cast("Engine", make(self._kinds, "engines", study.spec.engine))
        return read_why(self._store, study, anywhere(study.spec, self._kinds), problem_of(study.spec, engine))

    def task_document(self, name: str) -> Mapping[str, Json]:
        """The result document of the older task format."""
        return task_document(self.study(name))

    def export(self, name: str, wanted: Export) -> str:
        """A file that starts a trial's server in production. Raises ExportError and NotFoundError."""
        study = self.study(name)
        return exported(study, wanted, model_paths(study.spec.model), self._kinds)

    def report(self, name: str, price: Price | None = None) -> Report:
        """The report of a study, in any state. With the price of a GPU it has the cost. Raises NotFoundError."""
        from optuna_tuner.results.report.benchmark import as_measured  # noqa: PLC0415  only a report needs it
        from optuna_tuner.results.report.making import Material, report, told_of  # noqa: PLC0415  likewise

        study = as_measured(self.study(name), artifacts_folder())
        material = Material(
            study=study,
            model=model_paths(study.spec.model),
            kinds=self._kinds,
            written=datetime.now(UTC),
            told=told_of(self._store, study),
            price=price,
            why=self.why(name),
        )
        return report(material)

    def bundle(self, name: str, folder: Path, number: int | None = None) -> tuple[Run, ...]:
        """Write the standard bundle of one trial, or of each one, into a folder that is not there yet.

        Raises BundleError and NotFoundError; then nothing was written.
        """
        from optuna_tuner.results.bundle.taking import bundled  # noqa: PLC0415  it loads what reads requests

        return bundled(self._store, self.study(name), folder, number)

    def track(self, name: str, kind: TrackerKind, project: str) -> Tracked:
        """Log a study and its ended trials as runs of MLflow or W&B. Raises EnvironmentFaultError and NotFoundError."""
        from optuna_tuner.results.tracking.logbook import logbook  # noqa: PLC0415  it brings the report
        from optuna_tuner.results.tracking.trackers import tracker  # noqa: PLC0415  likewise

        return tracker(kind)(logbook(self.study(name), self.report(name)), project)

    def original(self, source: str) -> Original:
        """A trial that could be run again: of a bundle's folder, or `STUDY`, `STUDY/baseline`, `STUDY/7`.

        Raises BundleError and NotFoundError.
        """
        from optuna_tuner.results.bundle.original import found  # noqa: PLC0415  it loads what reads requests

        return found(self._store, source, self.study)

    def surroundings(self, name: str) -> Facts:
        """What surrounds a study's best trial, the confirmed one or that of a rerun: engine, machine, GPUs, versions.

        Empty before it was measured. Raises NotFoundError.
        """
        from optuna_tuner.results.bundle.original import surroundings  # noqa: PLC0415  as above

        return surroundings(self._store, self.study(name))

    def changed(self, name: str) -> tuple[Change, ...]:
        """What surrounds a gate or a rerun otherwise than the study that it measures again. Raises NotFoundError."""
        from optuna_tuner.results.bundle.environment import changed  # noqa: PLC0415  as above

        older = self.study(name).older
        now = self.surroundings(name) if older and older.environment else {}
        return changed(older.environment, now) if older and now else ()

    def compare(self, first: str, second: str, *, everything: bool = False) -> Difference:
        """What differs between two trials, each `STUDY`, `STUDY/baseline`, `STUDY/7` or the folder of a bundle.

        Raises BundleError and NotFoundError.
        """
        from optuna_tuner.results.bundle.as_study import bundle_side  # noqa: PLC0415  it loads what reads requests

        one, other = (bundle_side(each) or side(each, self.study) for each in (first, second))
        return difference_of(one, other, everything=everything)

    def watch(self, name: str, *, every_s: float = 1.0) -> Iterator[StudyView]:
        """Yield the study again and again until it has ended."""
        while True:
            view = self.study(name)
            yield view
            if view.state in AT_REST:
                return
            poll(lambda: None, Deadline.after(every_s))

    def logs(self, name: str, number: int, *, follow: bool = False) -> Iterator[str]:
        """Yield the server's output of one trial, piece by piece; with `follow`, until the trial has ended."""
        record = self._store.studies.get(name)
        deployer = assemble(spec_of(record), self._kinds).deployer
        return server_log(self._store, deployer, self.trial(name, number).attempt_id, follow=follow)

    def dashboard(
        self, *, host: str = "127.0.0.1", port: int = 8080, ready: Callable[[str], None], allow_remote: bool = False
    ) -> None:
        """Serve optuna-dashboard on this storage until interrupted; `ready` is called with its URL.

        It has no login: an address that others can reach is refused unless `allow_remote` says otherwise.
        """
        from optuna_tuner.results.dashboard.server import serve  # noqa: PLC0415  it loads optuna-dashboard

        serve(
            self._store, host=host, port=port, artifact_root=artifacts_folder(), ready=ready, allow_remote=allow_remote
        )

    def _view(self, record: StudyRecord) -> StudyView:
        return read_study(self._store, record)


def spec_of(record: StudyRecord) -> StudySpec:
    """The study as its file said it."""
    return StudySpec.model_validate_json(record.spec_json)
