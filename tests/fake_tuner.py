"""A tuner that knows one study by heart and does nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_tuner.errors import Fault, NotFoundError, SpecError
from optuna_tuner.rechecks import GateOrder, RerunOrder
from optuna_tuner.results.bundle.environment import Change
from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.efficiency import Price
from optuna_tuner.results.report.making import Material, report
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.results.why import Why
from optuna_tuner.search.extra_runs import ExtraRuns
from optuna_tuner.search.worth import FlagWorth, Loss, Worths
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.testing.sample_study import BEGAN, SampleStudy, sample_study
from optuna_tuner.tuner import Check, Plan, Tuner
from optuna_tuner.tuning.reaping import HouseReaped
from optuna_tuner.values import Json, Model, Request, Slot

if TYPE_CHECKING:
    from optuna_tuner.results.bundle.run import Run

COMMAND: Mapping[str, Json] = {
    "env": {"PYTHONUNBUFFERED": "1", "MODE": "a b"},
    "secrets": {"HF_TOKEN": "MY_TOKEN"},
}
ENDED = BEGAN + timedelta(hours=1)


class FakeTuner(Tuner):
    """Answers from memory. `asked` is what it was told to do; `raises` is raised by everything that reads a study."""

    def __init__(self, storage: str | None = None) -> None:
        super().__init__(storage)
        self.sample: SampleStudy = sample_study()
        self.asked: list[tuple[object, ...]] = []
        self.raises: BaseException | None = None
        self.checks: tuple[Check, ...] = ()
        self.house = HouseReaped(studies=(), lifted=(), quarantined={})

    def validate(self, path: Path) -> StudySpec:
        self.asked.append(("validate", path))
        if "bad" in path.name:
            raise SpecError(
                [Fault(str(path), 6, 5, "space.x.hgh", "unknown key"), Fault(str(path), 2, 1, "name", "bad")]
            )
        return self.sample.spec

    def plan(self, study: StudySpec | Path, *, workers: int = 1) -> Plan:
        self.asked.append(("plan", study, workers))
        model = Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
        request = Request(deployer="local", name="example-0", body={**COMMAND, "argv": ["vllm", "serve", model.path]})
        return Plan(
            spec=self.sample.spec,
            launches=(request,) * 3,
            load_client=None,
            remarks=(("max_num_batched_tokens is cut",), (), ()),
            space_size=float("inf"),
            left_out=0,
            trials=10,
            extra=ExtraRuns(controls=0, reruns=3, pairs=5, simpler=1),
            at_most_s=7200,
            estimate_s=None,
            slots=(Slot(name="cpu-0", host="here"),),
            warm_start=('study "may", trial 3: max_num_seqs=64',),
            prior=("prediction 1: max_num_seqs=128",),
            expected=("max_num_seqs",),
            warnings=("genai-bench is missing",),
            notice="",
            beyond_speed="",
        )

    def run(
        self, study: StudySpec | str, *, workers: int = 1, progress: Callable[[StudyView], None] | None = None
    ) -> StudyView:
        self.asked.append(("run", study if isinstance(study, str) else study.name, workers))
        for known in (1, 5, 11):
            if progress:
                progress(self.view(known))
        return self.study(self.sample.spec.name)

    def gate_of(self, order: GateOrder) -> StudySpec:
        self.asked.append(("gate", order))
        return self.sample.spec

    def rerun_of(self, order: RerunOrder) -> StudySpec:
        self.asked.append(("rerun", order))
        return self.sample.spec

    def changed(self, name: str) -> tuple[Change, ...]:
        self.asked.append(("changed", name))
        return (Change("engine.version", "0.11.0", "0.12.0"),)

    def confirm(
        self,
        name: str,
        *,
        pairs: int | None = None,
        simplify: int | None = None,
        workers: int = 1,
        progress: Callable[[StudyView], None] | None = None,
    ) -> StudyView:
        self.asked.append(("confirm", name, pairs, simplify, workers))
        if progress:
            progress(self.view(11))
        return self.study(name)

    def work(self, name: str | None = None, *, slot: str | None = None, max_trials: int | None = None) -> int:
        self.asked.append(("work", name, slot, max_trials))
        return 3

    def resume(self, name: str) -> StudyView:
        return self._steered("resume", name)

    def pause(self, name: str) -> StudyView:
        return self._steered("pause", name)

    def stop(self, name: str) -> StudyView:
        return self._steered("stop", name)

    def cancel(self, name: str) -> StudyView:
        return self._steered("cancel", name)

    def cancel_trial(self, name: str, number: int) -> TrialView:
        self.asked.append(("cancel_trial", name, number))
        return self.trial(name, number)

    def reap(self, name: str | None = None, *, wait: bool = False) -> HouseReaped:
        self.asked.append(("reap", name, wait))
        return self.house

    def studies(self) -> tuple[StudyView, ...]:
        return (self.view(11),) if self.sample.attempts else ()

    def study(self, name: str) -> StudyView:
        if self.raises is not None:
            raise self.raises
        if name != self.sample.spec.name:
            raise NotFoundError(f'there is no study "{name}"')
        return self.view(11)

    def report(self, name: str, price: Price | None = None) -> Report:
        study, model = self.study(name), Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
        return report(Material(study=study, model=model, kinds=self._kinds, written=ENDED, price=price))

    def hang(self, name: str, page: str) -> None:
        self.asked.append(("hang", name, page[:15]))

    def why(self, name: str) -> Why:
        loss = Loss(share=0.25, error=0.02, holds=0.99)
        flag = FlagWorth(flag="max_num_seqs", value=256, default=128, loss=loss, needed=True)
        other = FlagWorth(flag="block_size", value=32, default=None, loss=None, needed=False)
        return Why(
            number=getattr(self.study(name).best.trial, "number", None),
            worths=Worths(flags=(flag, other), loss=replace(loss, share=0.004), default={}),
            trials=9,
            outlook=0.012,
        )

    def bundle(self, name: str, folder: Path, number: int | None = None) -> tuple[Run, ...]:
        """The bundle of trial 8, whose files lie nowhere."""
        from optuna_tuner.results.bundle.describing import Source  # noqa: PLC0415  as the tuner: only who asks loads it
        from optuna_tuner.results.bundle.writing import write_trial  # noqa: PLC0415  likewise

        self.asked.append(("bundle", name, folder, number))
        study = self.study(name)
        source = Source(study=study, trial=study.trial(8), folder=Path("/nowhere"), handle=None)
        return (write_trial(source, folder),)

    def watch(self, name: str, *, every_s: float = 1.0) -> Iterator[StudyView]:
        self.asked.append(("watch", name, every_s))
        yield self.view(3)
        yield self.view(11)

    def logs(self, name: str, number: int, *, follow: bool = False) -> Iterator[str]:
        self.asked.append(("logs", name, number, follow))
        yield "loading [model]\nser"
        yield "ving\n"

    def dashboard(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        ready: Callable[[str], None],
        allow_remote: bool = False,
    ) -> None:
        self.asked.append(("dashboard", host, port, allow_remote))
        ready(f"http://{host}:{port}/")

    def doctor(self) -> tuple[Check, ...]:
        return self.checks

    def view(self, known: int) -> StudyView:
        """The study when so many of its trials had ended."""
        sample = self.sample
        return study_view(sample.record, sample.spec, sample.attempts[:known], sample.workers, ENDED)

    def _steered(self, verb: str, name: str) -> StudyView:
        self.asked.append((verb, name))
        return self.study(name)
