"""The one front door: everything that the command line does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_tuner.archive import Archive, spec_of
from optuna_tuner.clock import Deadline
from optuna_tuner.doctor import Check, checks
from optuna_tuner.errors import DeclaredDeadError, NotFoundError
from optuna_tuner.home import artifacts_folder
from optuna_tuner.idle_memory import give_back
from optuna_tuner.rechecks import GateOrder, RerunOrder, gate_of, rerun_of
from optuna_tuner.results.confirmable import demand_gain
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import AT_REST, StudyState, StudyView, left_s
from optuna_tuner.spec.files import check_study, load_study
from optuna_tuner.spec.mending import mend_file
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store import schema
from optuna_tuner.store.database import Database
from optuna_tuner.store.records import Desired, StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.beginning import beginning
from optuna_tuner.tuning.bench import Running, Wanted, of_running, of_study
from optuna_tuner.tuning.budget import wall_time
from optuna_tuner.tuning.fleet import Fleet
from optuna_tuner.tuning.history import ensure_optuna_study
from optuna_tuner.tuning.interrupts import on_signals
from optuna_tuner.tuning.model import model_paths, prepare_model
from optuna_tuner.tuning.plan import Plan, plan
from optuna_tuner.tuning.preflight import demand
from optuna_tuner.tuning.process import clear_devices, work
from optuna_tuner.tuning.reaping import HouseReaped, reap_afterwards, reap_house
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.tuning.slots import holding_for, slots_for
from optuna_tuner.tuning.study import ask_for_confirmation, create_or_resume
from optuna_tuner.values import Load

if TYPE_CHECKING:
    from optuna_tuner.results.dashboard.shelf import Shelf

__all__ = ["Check", "Plan", "Tuner"]

Progress = Callable[[StudyView], None]


class Tuner(Archive):
    """Everything: to read what a database holds, and to work on it."""

    # What a file says

    def validate(self, path: Path) -> StudySpec:
        """Read a study file or a task file. Raises SpecError, which holds every fault in it."""
        return load_study(path, self._kinds)

    def mend(self, path: Path) -> Mapping[str, str]:
        """Rewrite the flags of a study file that have other names in its engine's version; old name -> new name."""
        return mend_file(path, self._kinds)

    def plan(self, study: StudySpec | Path, *, workers: int = 1) -> Plan:
        """What a study would launch; starts no server and writes nothing. Raises as `create` for where it begins."""
        asked = study if isinstance(study, StudySpec) else self.validate(study)
        found = beginning(self._store, asked, self._kinds)
        spec, parts = found.added_to(asked), assemble(asked, self._kinds)
        return plan(
            spec, parts, model_paths(spec.model), slots_for(parts.deployer, workers), self._estimate_s(spec), found
        )

    def loads(self, spec: StudySpec) -> tuple[Load, ...]:
        """What each trial measures, in order; none where the load is searched."""
        return assemble(spec, self._kinds).benchmark.loads()

    def _estimate_s(self, spec: StudySpec) -> float | None:
        return next((left_s(view, spec) for view in self.studies() if view.name == spec.name), None)

    # Work

    def benchmark_of(self, source: Path | Running, wanted: Wanted) -> StudySpec:
        """The study that measures one configuration of a study file, or a server that runs already; see `run`.

        Raises SpecError.
        """
        if isinstance(source, Running):
            spec = of_running(source, wanted)
        else:
            study = self.validate(source)
            engine = assemble(study, self._kinds).engine
            spec = of_study(study, wanted, engine.canonical)
        check_study(spec, self._kinds)
        return spec

    def create(self, spec: StudySpec) -> StudyView:
        """Make a study, or resume the one of this name, without starting a worker.

        Raises ConflictError, NotFoundError and EnvironmentFaultError, as older studies and a prediction do.
        """
        return self._view(create_or_resume(self._store, spec))

    def run(self, study: StudySpec | str, *, workers: int = 1, progress: Progress | None = None) -> StudyView:
        """Create or resume a study, work on it with so many processes, and return it when they are done.

        Raises ConflictError, EnvironmentFaultError when something is missing on this machine, and KeyboardInterrupt
        when interrupted: running trials have then gone back to the queue. So they have when `progress` raises.
        """
        record = create_or_resume(self._store, study) if isinstance(study, StudySpec) else self._want_run(study)
        if not self._is_over(record):
            self._employ(record, workers, lambda: progress(self.study(record.name)) if progress else None)
        self._publish(record.name)
        return self.study(record.name)

    def confirm(
        self,
        name: str,
        *,
        pairs: int | None = None,
        simplify: int | None = None,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> StudyView:
        """Measure the best of a study that has ended against the default, in so many pairs in all; its search is over.

        After a win, up to `simplify` configurations with fewer flags are measured, too.

        Raises ConflictError where it runs, or has nothing to confirm; else as `run`.
        """
        demand_gain(self.study(name))
        ask_for_confirmation(self._store, self._store.studies.get(name), pairs, simplify)
        return self.run(name, workers=workers, progress=progress)

    def gate_of(self, order: GateOrder) -> StudySpec:
        """The study that measures the winner of another one and the default again; `run` runs it. Writes nothing.

        Raises NotFoundError, ConflictError where there is no confirmed winner, and SpecError where the engine's version
        does not take its flags.
        """
        older = self.study(order.study)
        return gate_of(older, order, self.surroundings(older.name), self._others(), self._kinds)

    def rerun_of(self, order: RerunOrder) -> StudySpec:
        """The study that measures one trial again, from its bundle alone or from the database; `run` runs it.

        Writes nothing. Raises BundleError, NotFoundError, ConflictError where the trial was never measured, SpecError.
        """
        return rerun_of(self.original(order.source), order, self._others(), self._kinds)

    def _others(self) -> tuple[StudyView, ...]:
        """All studies, seen when the dead workers of gates and reruns were taken back: what they left is unfinished."""
        seen = self.studies()
        busy = [each for each in seen if each.older and each.state is StudyState.RUNNING]
        if not busy:
            return seen
        reap_house(self._store, self._kinds, [self._store.studies.get(each.name) for each in busy], wait=False)
        return self.studies()

    def _employ(self, record: StudyRecord, workers: int, tick: Callable[[], None]) -> None:
        """Work with so many processes until they are done; whatever ends them, nothing stays behind them."""
        spec = spec_of(record)
        slots, deadline = slots_for(assemble(spec, self._kinds).deployer, workers), wall_time(spec)
        demand(spec, self._kinds, slots[0])
        prepare_model(spec.model)
        try:
            Fleet(self._store, record.id, slots, deadline).run(tick)
        finally:
            reap_afterwards(self._store, self._kinds, record)
        self._stop_if_passed(record, deadline)

    def _stop_if_passed(self, record: StudyRecord, deadline: Deadline) -> None:
        """Say that a study has ended by its wall time, unless others still work on it."""
        if deadline.passed and self.study(record.name).state is StudyState.WAITING:
            limit = spec_of(record).budget.wall_time_s or 0.0
            self._store.studies.give_up(record.id, f"the wall time is over: budget.wall_time_s is {limit:g}")

    def _is_over(self, record: StudyRecord) -> bool:
        """Whether no worker has anything left to do; then none needs a slot, which another study may hold."""
        return self._view(record).state is StudyState.DONE and not self._store.attempts.untold(record.id)

    def work(self, name: str | None = None, *, slot: str | None = None, max_trials: int | None = None) -> int:
        """Be one worker of a study in this process until it is done; returns how many trials it ran."""
        give_back()  # of earlier studies, before another one grows beside them
        with on_signals() as interruption:
            record = self._store.studies.get(name) if name else self._only_open_study()
            deadline = wall_time(spec_of(record))
            clear_devices(self._store, self._kinds, record.id)
            with holding_for(assemble(spec_of(record), self._kinds).deployer, slot) as mine:
                demand(spec_of(record), self._kinds, mine)
                worker = work(self._store, record.id, mine, self._kinds, deadline)
                interruption.answer(worker.heart.interrupt)
                count = worker.run(max_trials)
        self._store.hurry.clear()
        if worker.heart.interrupted.is_set():
            raise KeyboardInterrupt
        if worker.heart.orders.fenced:
            raise DeclaredDeadError("this worker was not heard of for too long, and taken for dead; start it again")
        self._stop_if_passed(record, deadline)
        self._publish(record.name)
        give_back()
        return count

    def _want_run(self, name: str) -> StudyRecord:
        return self._store.studies.want(self._store.studies.get(name).id, Desired.RUN)

    def _only_open_study(self) -> StudyRecord:
        names = [view.name for view in self.studies() if view.state not in AT_REST]
        if len(names) != 1:
            several = f"several studies want trials: {', '.join(names)}; name one" if names else "no study wants trials"
            raise NotFoundError(several)
        return self._store.studies.get(names[0])

    def hang(self, name: str, page: str) -> None:
        """Hang a report's HTML among the study's files in the dashboard, in the place of an earlier one."""
        from optuna_tuner.results.dashboard.filling import hang  # noqa: PLC0415  it loads plotly

        record = self._store.studies.get(name)
        ensure_optuna_study(self._store, spec_of(record))
        exhibit = self._shelf().lay(record.id, "report.html", page.encode())
        storage = self._store.optuna_storage()
        self._store.weathered(lambda: hang(storage, name, exhibit))

    def _publish(self, name: str) -> None:
        from optuna_tuner.results.dashboard.filling import fill  # noqa: PLC0415  it loads plotly
        from optuna_tuner.results.importance import forget_importances  # noqa: PLC0415  likewise

        storage, study, shelf = self._store.optuna_storage(), self.study(name), self._shelf()
        self._store.weathered(lambda: fill(storage, study, shelf))
        forget_importances()  # each that is kept lies amid what the study needed, and holds on to that memory

    def _shelf(self) -> Shelf:
        from optuna_tuner.results.dashboard.shelf import Shelf  # noqa: PLC0415  it loads optuna-dashboard

        return Shelf(artifacts_folder(), self._store.artifacts.attempt_folder)

    # Steering

    def resume(self, name: str) -> StudyView:
        """Let workers start trials again; workers that are paused go on at once."""
        return self._steer(name, Desired.RUN)

    def pause(self, name: str) -> StudyView:
        """Start no more trials; workers wait."""
        return self._steer(name, Desired.PAUSE)

    def stop(self, name: str) -> StudyView:
        """Let running trials end, then the workers end."""
        return self._steer(name, Desired.STOP)

    def cancel(self, name: str) -> StudyView:
        """End running trials now; the workers end."""
        return self._steer(name, Desired.CANCEL)

    def cancel_trial(self, name: str, number: int) -> TrialView:
        """End one running trial now; the study goes on."""
        self._store.attempts.request_cancel(self.trial(name, number).attempt_id)
        return self.trial(name, number)

    def _steer(self, name: str, desired: Desired) -> StudyView:
        return self._view(self._store.studies.want(self._store.studies.get(name).id, desired))

    def reap(self, name: str | None = None, *, wait: bool = False) -> HouseReaped:
        """Take back what dead workers of one study, or of all, held. Any number may do it at once.

        Workers that cannot be seen from this machine are judged by their leases alone: with `wait` they are watched
        for as long as that takes. Raises NotFoundError.
        """
        records = self._store.studies.all() if name is None else (self._store.studies.get(name),)
        return reap_house(self._store, self._kinds, records, wait=wait)

    # The machine

    def db_init(self) -> None:
        """Make the tables where there are none. Raises StoreError."""
        Store.open(self.storage).close()

    def db_upgrade(self) -> None:
        """Bring an older version's tables up to date, Optuna's too; makes them where there are none."""
        database = Database(self.storage)
        try:
            schema.upgrade(database)
        finally:
            database.close()

    def db_check(self) -> None:
        """Raise StoreError, which says what to do, unless the tables are those of this version."""
        Store.open(self.storage, create=False).close()

    def doctor(self) -> tuple[Check, ...]:
        """What is missing on this machine, and how to get it."""
        return checks(self.storage)
