"""Everything that the trials of one worker have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from optuna_tuner.contracts import Benchmark, Deployer, Engine, Kinds
from optuna_tuner.plugins import make
from optuna_tuner.spec.study import Part, StudySpec
from optuna_tuner.store.store import Store
from optuna_tuner.values import Model, Params, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The three plugins of a study, made from its options."""

    engine: Engine
    deployer: Deployer
    benchmark: Benchmark

    def remarks(self, model: Model, params: Params, slot: Slot) -> tuple[str, ...]:
        """What is known beforehand of a configuration and of figures of it, a line each, for people."""
        return (*self.engine.remarks(model, params, slot), *filter(None, (self.deployer.remark,)))

    @property
    def missing(self) -> str | None:
        """What the load client lacks on this machine, and how to get it; where it runs elsewhere, nothing."""
        return None if self.deployer.hosts_clients else self.benchmark.missing()


def assemble(spec: StudySpec, kinds: Kinds) -> Parts:
    """Make the study's plugins. Raises UnknownPluginError where a kind is not installed on this machine."""
    return Parts(
        engine=cast("Engine", make(kinds, "engines", spec.engine)),
        deployer=cast("Deployer", make(kinds, "deployers", spec.deployer)),
        benchmark=cast("Benchmark", make(kinds, "benchmarks", spec.benchmark)),
    )


def make_deployer(store: Store, kinds: Kinds, study_id: str, kind: str) -> Deployer:
    """The deployer that started a server of the study, with the study's options where it still uses this kind.

    Raises UnknownPluginError where it is not installed, and ValueError where it cannot do without options.
    """
    part = StudySpec.model_validate_json(store.studies.by_id(study_id).spec_json).deployer
    return cast("Deployer", make(kinds, "deployers", part if part.kind == kind else Part(kind=kind)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a worker needs to run the trials of its study on its slot."""

    study_id: str
    worker_id: str
    spec: StudySpec
    parts: Parts
    model: Model
    slot: Slot
    store: Store
